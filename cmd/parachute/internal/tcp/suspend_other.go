//go:build !linux

package tcp

import (
	"errors"
	"syscall"
)

func refuse(syscall.Conn) (admit func() error, err error) { return nil, errors.ErrUnsupported }
