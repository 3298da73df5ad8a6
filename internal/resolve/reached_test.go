package resolve_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/resolve"
)

// probe dials b for a probe, and has what was reached judged by whether it passed.
func (b *bed) probe(ctx context.Context, passed bool) error {
	w := resolve.NewWitness(b.Dial)
	conn, err := w.Dial(ctx, "tcp", "web:80")
	if err == nil {
		conn.Close()
	}
	w.Reached().Judge(b.Name, passed)
	return err
}

func TestProbeIsHeldAgainstTheAddressThatItReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 2, []string{"10.0.0.1", "10.0.0.2"}, "10.0.0.1", "10.0.0.2")
		first, second := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		is.NoErr(b.probe(t.Context(), false))
		is.NoErr(b.probe(t.Context(), true)) // in its favour
		is.NoErr(b.probe(t.Context(), false))
		b.server.fails(errServer)
		b.wantDial(t, "10.0.0.1", 0) // one failure is not Fall of them
		is.NoErr(b.probe(t.Context(), false))
		is.True(!b.IsCurrent(first))
		is.True(b.IsCurrent(second))
		b.wantDial(t, "10.0.0.2", 0)
	})
}

func TestProbeThatReachesNothingIsHeldAgainstEveryAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.8", "10.0.0.9"})
		is.True(errors.Is(b.probe(t.Context(), false), syscall.ECONNREFUSED))
		b.server.fails(errServer)
		_, _, err := b.dial(t.Context())
		is.True(errors.Is(err, errServer)) // there is none left
	})
}

func TestProbeWithoutAnAddressOrADescriptorSaysNothing(t *testing.T) {
	for name, failure := range map[string]error{
		"no address":    errServer,
		"no descriptor": syscall.EMFILE,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1")
				b.wantDial(t, "10.0.0.1", 0)
				w := resolve.NewWitness(func(context.Context, string, string) (net.Conn, error) {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: failure}
				})
				_, err := w.Dial(t.Context(), "tcp", "web:80")
				is.True(errors.Is(err, failure))
				w.Reached().Judge(b.Name, false)
				b.server.fails(errServer)
				b.wantDial(t, "10.0.0.1", 0)
			})
		})
	}
}

func TestProbeThatDoesNotDialSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1")
		b.wantDial(t, "10.0.0.1", 0)
		resolve.NewWitness(b.Dial).Reached().Judge(b.Name, false)
		b.server.fails(errServer)
		b.wantDial(t, "10.0.0.1", 0)
	})
}

func TestFirstConnectionOfAProbeCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1", "10.0.0.2")
		w := resolve.NewWitness(b.Dial)
		for _, addr := range []string{"10.0.0.1", "10.0.0.2"} {
			b.server.says(addr)
			conn, err := w.Dial(t.Context(), "tcp", "web:80")
			is.NoErr(err)
			conn.Close()
		}
		b.server.says("10.0.0.1", "10.0.0.2")
		b.wantDial(t, "10.0.0.1", 0)
		w.Reached().Judge(b.Name, false)
		b.server.fails(errServer)
		b.wantDial(t, "10.0.0.2", 0)
	})
}
