//go:build !linux

package socket

import (
	"io"
	"time"
)

// There is no pipe to splice through on this system: newPipe returns nil.
type pipe struct{ since time.Time }

func newPipe(func(uintptr) bool) *pipe { return nil }

func (*pipe) close() {}

func (c *Conn) splice(socket, *io.LimitedReader) (int64, error) { return 0, errNoSplice }
