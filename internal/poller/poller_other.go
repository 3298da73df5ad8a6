//go:build !linux

package poller

import (
	"errors"
	"syscall"
)

// A Poller tells of which sockets there is something to be read. There is none on this system.
type Poller struct{}

// New returns [errors.ErrUnsupported].
func New() (*Poller, error) { return nil, errors.ErrUnsupported }

// Notify returns [errors.ErrUnsupported].
func (*Poller) Notify(fd uintptr, key uint64) error { return errors.ErrUnsupported }

// Wait returns [errors.ErrUnsupported].
func (*Poller) Wait() (keys []uint64, err error) { return nil, errors.ErrUnsupported }

// Close returns [errors.ErrUnsupported].
func (*Poller) Close() error { return errors.ErrUnsupported }

// SyscallConn returns [errors.ErrUnsupported].
func (*Poller) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }
