//go:build !linux

package tcp

import (
	"errors"
	"net"
)

func refuse(*net.TCPListener) (admit func() error, err error) { return nil, errors.ErrUnsupported }
