package upstream_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/upstream"
)

func TestShortageOfDescriptorsIsNoFailureOfTheTarget(t *testing.T) {
	full := func(errno error) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, network, _ string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("socket", errno)}
		}
	}
	for name, exchange := range map[string]func(upstream.Options) (*http.Response, error){
		"HTTP/1": func(o upstream.Options) (*http.Response, error) {
			p := upstream.New(o)
			defer p.Close()
			return p.Exchange(request("POST", nil, 0), "/", field.View{}, nil)
		},
		"h2c": func(o upstream.Options) (*http.Response, error) {
			p := upstream.NewH2C(o)
			defer p.Close()
			return p.Exchange(request("POST", nil, 0), "/", field.View{}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			for errno, want := range map[syscall.Errno]upstream.Reason{
				syscall.EMFILE:       upstream.Shortage,
				syscall.ENFILE:       upstream.Shortage,
				syscall.ECONNREFUSED: upstream.Dial,
			} {
				_, err := exchange(upstream.Options{Network: "tcp", Address: "127.0.0.1:80", Dial: full(errno)})
				why, repeatable := reason(err)
				is.Equal(why, want)
				is.True(repeatable) // another moment may be better
				is.True(errors.Is(err, errno))
			}
		})
	}
}
