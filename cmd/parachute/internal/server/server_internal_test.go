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
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

var errBroken = errors.New("broken")

// brokenListener is one whose file descriptor went away.
type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errBroken }

func TestFirstListenerThatFailsStopsAll(t *testing.T) {
	for name, broken := range map[string]func(commands, requests net.Listener) (net.Listener, net.Listener){
		"control": func(commands, requests net.Listener) (net.Listener, net.Listener) {
			return brokenListener{commands}, requests
		},
		"http": func(commands, requests net.Listener) (net.Listener, net.Listener) {
			return commands, brokenListener{requests}
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
			commands, requests := loopback(t), loopback(t)

			c, r := broken(commands, requests)
			s := newServer(Config{}, parts{
				log:          log,
				logger:       slog.New(slog.DiscardHandler),
				store:        store,
				certificates: certstore.At(dir),
				listeners:    &listeners{http: r},
			})
			is.True(errors.Is(s.serve(t.Context(), c), errBroken))
			for _, l := range []net.Listener{commands, requests} {
				_, err := net.Dial("tcp", l.Addr().String())
				is.True(err != nil) // closed, the one that was well too
			}
		})
	}
}

func TestPortOfHTTP3ThatCannotBeHadIsAnError(t *testing.T) {
	is := is.New(t)
	tcp := loopback(t)
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	is.NoErr(err)
	defer udp.Close()
	is.NoErr(tcp.Close())
	_, err = listenAll(Config{
		Bind:          netip.MustParseAddr("127.0.0.1"),
		HTTPSPort:     portOf(tcp),
		HTTPSOptional: true, // but HTTP/3 was asked for
		HTTP3:         true,
	}, quotas{})
	var refused *ListenError
	is.True(errors.As(err, &refused))
	is.Equal(refused.Protocol, "http3")
	is.True(errors.Is(err, syscall.EADDRINUSE))
	free, err := net.Listen("tcp", tcp.Addr().String())
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
