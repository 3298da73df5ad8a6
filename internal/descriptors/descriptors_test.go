package descriptors_test

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/descriptors"
)

func TestShortageIsTheProcessesOrTheMachines(t *testing.T) {
	dial := func(err error) error {
		return fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", err)})
	}
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"of the process":          {dial(syscall.EMFILE), true},
		"of the machine":          {dial(syscall.ENFILE), true},
		"of memory for a socket":  {dial(syscall.ENOBUFS), true},
		"of a file":               {&os.PathError{Op: "open", Path: "/cert.pem", Err: syscall.EMFILE}, true},
		"of those not reserved":   {fmt.Errorf("dial: %w", descriptors.ErrReserved), true},
		"in a look-up":            {&net.DNSError{Err: "dial udp 127.0.0.1:53: socket: too many open files", Name: "a.test"}, true},
		"refused":                 {dial(syscall.ECONNREFUSED), false},
		"an address that is none": {dial(syscall.EADDRNOTAVAIL), false},
		"a name that is none":     {&net.DNSError{Err: "no such host", Name: "too many open files", IsNotFound: true}, false},
		"another one":             {errors.New("too many open files"), false},
		"none":                    {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(descriptors.IsShortage(tt.err), tt.want)
		})
	}
}

func TestClientsLeaveOneForEachTarget(t *testing.T) {
	is := is.New(t)
	for limit, want := range map[int]int{
		0:       math.MaxInt, // nothing is known
		16:      1,           // somebody has to be served
		64:      4,
		256:     96,
		1024:    432,
		65536:   32240,
		1 << 20: 523760,
	} {
		is.Equal(descriptors.Clients(limit), want)
	}
}
