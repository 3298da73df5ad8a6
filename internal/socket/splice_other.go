//go:build !linux

package socket

import (
	"io"
	"syscall"
	"time"
)

// A Pipe is what bytes are spliced through on other systems. There is none on this one.
type Pipe struct {
	pool  *Pipes
	since time.Time
	n     int
}

func newPipe(func(uintptr) bool) *Pipe { return nil }

func (*Pipe) close() {}

func (*Pipe) fill(uintptr, int) error { return syscall.EINVAL }

// Len returns 0.
func (*Pipe) Len() int { return 0 }

// MoveTo is not called.
func (*Pipe) MoveTo(uintptr) (int, error) { return 0, syscall.EINVAL }

func (c *Conn) splice(socket, *io.LimitedReader) (int64, error) { return 0, errNoSplice }
