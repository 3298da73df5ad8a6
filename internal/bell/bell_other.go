//go:build !linux

package bell

import (
	"errors"
	"syscall"
)

// A Bell wakes the goroutine that waits for it. There is none on this system.
type Bell struct{}

// New returns [errors.ErrUnsupported].
func New() (*Bell, error) { return nil, errors.ErrUnsupported }

// Ring does nothing.
func (*Bell) Ring() {}

// Wait returns [errors.ErrUnsupported].
func (*Bell) Wait() error { return errors.ErrUnsupported }

// Close returns [errors.ErrUnsupported].
func (*Bell) Close() error { return errors.ErrUnsupported }

// SyscallConn returns [errors.ErrUnsupported].
func (*Bell) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }
