//go:build !linux

package tcp

import "io"

// A pipe is nothing here.
type pipe struct{}

func newPipe() any { return nil }

func (c *conn) splice(socket, *io.LimitedReader) (int64, error) { return 0, errNoSplice }
