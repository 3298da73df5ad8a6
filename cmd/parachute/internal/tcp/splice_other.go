//go:build !linux

package tcp

import (
	"io"
	"time"
)

// A pipe is nothing here.
type pipe struct{ since time.Time }

func newPipe() *pipe { return nil }

func (*pipe) close() {}

func (c *conn) splice(socket, *io.LimitedReader) (int64, error) { return 0, errNoSplice }
