//go:build !linux

package tcp

import (
	"io"
	"time"
)

// There is no pipe to splice through on this system: newPipe returns nil.
type pipe struct{ since time.Time }

func newPipe() *pipe { return nil }

func (*pipe) close() {}

func (c *conn) splice(source, *io.LimitedReader) (int64, error) { return 0, errNoSplice }
