package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
	"github.com/shahnk19/parachute/cmd/parachute/internal/certstore"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/notify"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
	"github.com/shahnk19/parachute/cmd/parachute/internal/tickets"
	"github.com/shahnk19/parachute/internal/proxytest"
)

var errBroken = errors.New("broken")

// brokenListener is one whose file descriptor went away.
type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errBroken }

func TestFirstListenerThatFailsStopsAll(t *testing.T) {
	for name, breakOne := range map[string]func(s *server, requests *tcp.Listener) (want error){
		"control": func(s *server, requests *tcp.Listener) error {
			s.commands.listener = brokenListener{s.commands.listener}
			return errBroken
		},
		"http": func(s *server, requests *tcp.Listener) error {
			requests.Close()
			return net.ErrClosed
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			dir := t.TempDir()
			store, err := state.Open(filepath.Join(dir, "data"))
			is.NoErr(err)
			defer store.Close()
			log := accesslog.New(io.Discard, accesslog.JSON)
			defer log.Close()
			commands, err := control.Listen(filepath.Join(dir, "s"), control.SocketOptions{})
			is.NoErr(err)
			defer commands.Close()
			requests := tcp.NewListener(loopback(t).(*net.TCPListener), nil)

			s := newServer(Config{}, parts{
				log:          log,
				logger:       slog.New(slog.DiscardHandler),
				store:        store,
				certificates: certstore.At(dir),
				notifier:     notify.New(notify.Config{}),
				listeners:    &listeners{http: requests},
				commands:     commands,
				tickets:      tickets.New(nil),
			})
			want := breakOne(s, requests)
			_, err = s.serve(t.Context())
			is.True(errors.Is(err, want))
			_, err = net.Dial("tcp", requests.Addr().String())
			is.True(err != nil) // closed
		})
	}
}

func TestPortOfHTTP3ThatCannotBeHadIsAnError(t *testing.T) {
	is := is.New(t)
	at := netip.MustParseAddrPort(proxytest.FreeAddress(t))
	udp, err := net.ListenPacket("udp", at.String())
	is.NoErr(err)
	defer udp.Close()
	_, err = listenAll(Config{
		Bind:          at.Addr(),
		HTTPSPort:     int(at.Port()),
		HTTPSOptional: true, // but HTTP/3 was asked for
		HTTP3:         true,
	}, quotas{})
	var refused *ListenError
	is.True(errors.As(err, &refused))
	is.Equal(refused.Protocol, "http3")
	is.True(errors.Is(err, syscall.EADDRINUSE))
	free, err := net.Listen("tcp", at.String())
	is.NoErr(err) // nothing is left behind
	is.NoErr(free.Close())
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
