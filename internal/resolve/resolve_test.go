package resolve_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/resolve"
)

// A nameServer answers as it is told.
type nameServer struct {
	mu     sync.Mutex // guards what follows
	addrs  []netip.Addr
	err    error
	takes  time.Duration
	silent bool
	asked  int
}

var (
	errServer  = &net.DNSError{Err: "server misbehaving", Name: "web", IsTemporary: true}
	errUnknown = &net.DNSError{Err: "no such host", Name: "web", IsNotFound: true}
)

func (s *nameServer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	s.mu.Lock()
	addrs, err, takes, silent := s.addrs, s.err, s.takes, s.silent
	s.asked++
	s.mu.Unlock()
	if silent {
		takes = time.Hour
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true}
	}
	return addrs, err
}

// says has s answer with addrs from now on.
func (s *nameServer) says(addrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.silent, s.addrs = nil, false, nil
	for _, addr := range addrs {
		s.addrs = append(s.addrs, netip.MustParseAddr(addr))
	}
}

// fails has s answer with err from now on; nil: not at all.
func (s *nameServer) fails(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.silent, s.addrs = err, err == nil, nil
}

// A bed is a Name on a network, with its name server.
type bed struct {
	*resolve.Name
	server  nameServer
	network proxytest.Net
	log     bytes.Buffer
}

// newBed returns a bed where the name leads to addrs, and machines listen at each
// of all.
func newBed(t *testing.T, fall int, addrs []string, all ...string) *bed {
	b := new(bed)
	b.server.says(addrs...)
	for _, addr := range all {
		l, err := b.network.Listen(net.JoinHostPort(addr, "80"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	b.Name = resolve.New("web", resolve.Options{
		Lookup: b.server.lookup,
		Dial:   b.network.Dial,
		Fall:   fall,
		Logger: slog.New(slog.NewTextHandler(&b.log, nil)),
	})
	t.Cleanup(b.Close)
	return b
}

// dial returns the address that a Dial led to and how long it took, or its error.
func (b *bed) dial(ctx context.Context) (string, time.Duration, error) {
	began := time.Now()
	conn, err := b.Dial(ctx, "tcp", "web:80")
	if err != nil {
		return "", time.Since(began), err
	}
	defer conn.Close()
	return conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().String(), time.Since(began), nil
}

// wantDial wants that a Dial leads to addr within a limit.
func (b *bed) wantDial(t *testing.T, addr string, limit time.Duration) {
	t.Helper()
	is := is.New(t)
	got, took, err := b.dial(t.Context())
	is.NoErr(err)
	is.Equal(got, addr)    // where it leads
	is.True(took <= limit) // how long it takes
	synctest.Wait()        // a look-up that was not waited for may have ended
}

func TestEveryDialFollowsTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1", "10.0.0.2")
		b.wantDial(t, "10.0.0.1", 0)
		is.True(b.IsCurrent(netip.MustParseAddr("10.0.0.1")))
		is.True(b.IsCurrent(netip.MustParseAddr("::ffff:10.0.0.1"))) // as a socket for both families tells it

		b.server.says("10.0.0.2")
		b.wantDial(t, "10.0.0.2", 0)
		is.True(!b.IsCurrent(netip.MustParseAddr("10.0.0.1"))) // the name leads there no more
		is.True(b.IsCurrent(netip.MustParseAddr("10.0.0.2")))
	})
}

func TestLastAddressesServeWhileNameServerIsAway(t *testing.T) {
	for name, err := range map[string]error{"silent": nil, "SERVFAIL": errServer} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1", "10.0.0.2")
				addr := netip.MustParseAddr("10.0.0.1")
				b.wantDial(t, "10.0.0.1", 0)
				b.server.fails(err)
				b.wantDial(t, "10.0.0.1", 100*time.Millisecond)
				time.Sleep(2 * time.Second) // now it is known to be away
				for range 60 {
					b.wantDial(t, "10.0.0.1", 0)
					b.Judge(addr, true)
					time.Sleep(time.Minute)
				}
				is.True(b.IsCurrent(addr))

				b.server.says("10.0.0.2")
				time.Sleep(2 * time.Second) // a question from before may still be open
				b.dial(t.Context())
				synctest.Wait()
				b.wantDial(t, "10.0.0.2", 0)
				is.True(!b.IsCurrent(addr))
			})
		})
	}
}

func TestAddressWhoseProbesFailIsGivenUpWhileNameServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 2, []string{"10.0.0.1", "10.0.0.2"}, "10.0.0.1", "10.0.0.2")
		first, second := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		b.wantDial(t, "10.0.0.1", 0)
		b.Judge(first, false)
		b.Judge(first, false)
		b.wantDial(t, "10.0.0.1", 0) // the name server vouches for it

		b.server.fails(errServer)
		b.wantDial(t, "10.0.0.2", 0)
		is.True(!b.IsCurrent(first)) // nobody knows whose it is
		b.Judge(second, false)
		b.Judge(second, true)
		b.Judge(second, false)
		b.wantDial(t, "10.0.0.2", 0) // a single failure is not Fall of them
		b.Judge(second, false)
		_, _, err := b.dial(t.Context())
		is.True(errors.Is(err, errServer)) // there is none left

		b.server.says("10.0.0.1", "10.0.0.2")
		b.wantDial(t, "10.0.0.1", 0) // it vouches for them again
	})
}

func TestProbeThatCannotConnectSpeaksAgainstEveryAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1", "10.0.0.2"}, "10.0.0.1", "10.0.0.2")
		b.wantDial(t, "10.0.0.1", 0)
		b.server.fails(errServer)
		b.wantDial(t, "10.0.0.1", 0)
		b.Judge(netip.Addr{}, false)
		_, _, err := b.dial(t.Context())
		is.True(errors.Is(err, errServer))
	})
}

func TestUnknownNameServesForHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1", "10.0.0.2")
		addr := netip.MustParseAddr("10.0.0.1")
		b.wantDial(t, "10.0.0.1", 0)
		b.server.fails(errUnknown)
		b.wantDial(t, "10.0.0.1", 0)
		time.Sleep(20 * time.Second)
		b.wantDial(t, "10.0.0.1", 0)
		b.server.fails(errServer) // which does not take back what was said
		time.Sleep(9 * time.Second)
		b.wantDial(t, "10.0.0.1", 0)
		is.True(b.IsCurrent(addr))
		time.Sleep(time.Second)
		is.True(!b.IsCurrent(addr)) // without a dial, too
		_, _, err := b.dial(t.Context())
		is.True(errors.Is(err, errServer))
		b.server.fails(errUnknown)
		_, _, err = b.dial(t.Context())
		is.True(errors.Is(err, errUnknown))

		b.server.says("10.0.0.2")
		b.wantDial(t, "10.0.0.2", 0)
		b.server.fails(errUnknown)
		time.Sleep(29 * time.Second)
		b.wantDial(t, "10.0.0.2", 0) // its own half minute begins
	})
}

func TestNameWithoutAddressesIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, nil)
		_, _, err := b.dial(t.Context())
		failure, ok := errors.AsType[*net.DNSError](err)
		is.True(ok && failure.IsNotFound)
		_, ok = errors.AsType[*net.OpError](err)
		is.True(ok) // as a net.Dialer says it
	})
}

func TestFirstLookupIsGivenUpAfterTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, nil)
		b.server.fails(nil)
		_, took, err := b.dial(t.Context())
		failure, ok := errors.AsType[*net.DNSError](err)
		is.True(ok && failure.IsTimeout)
		is.Equal(took, 2*time.Second)
	})
}

func TestWaitForLookupEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, nil)
		b.server.fails(nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, took, err := b.dial(ctx)
		is.True(errors.Is(err, context.DeadlineExceeded))
		failure, ok := errors.AsType[*net.DNSError](err)
		is.True(ok && failure.IsTimeout) // nobody was connected to
		is.Equal(took, time.Second)
	})
}

func TestWhoIsInAHurryHasTimeLeftToConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1")
		b.wantDial(t, "10.0.0.1", 0)
		b.server.fails(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		defer cancel()
		addr, took, err := b.dial(ctx)
		is.NoErr(err)
		is.Equal(addr, "10.0.0.1")
		is.Equal(took, 10*time.Millisecond)
	})
}

func TestOneQuestionIsAskedForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1")
		b.server.takes = time.Second
		var dials sync.WaitGroup
		for range 20 {
			dials.Go(func() {
				if _, _, err := b.dial(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		dials.Wait()
		is.Equal(b.server.asked, 1)
	})
}

func TestSlowNameServerIsNotWaitedForTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1", "10.0.0.2")
		b.server.takes = 500 * time.Millisecond
		b.wantDial(t, "10.0.0.1", 500*time.Millisecond)
		b.server.says("10.0.0.2")
		b.wantDial(t, "10.0.0.1", 0)
		time.Sleep(501 * time.Millisecond)
		b.wantDial(t, "10.0.0.2", 0) // its answer is used when it comes
	})
}

func TestAnswerIsWaitedForWhereOldAddressesAreOfNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.9"}, "10.0.0.2")
		b.server.takes = 500 * time.Millisecond
		_, _, err := b.dial(t.Context())
		is.True(errors.Is(err, syscall.ECONNREFUSED)) // nobody listens at 10.0.0.9
		b.server.says("10.0.0.2")
		b.wantDial(t, "10.0.0.2", 500*time.Millisecond)
	})
}

func TestEachOutageIsReportedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1")
		b.server.fails(errServer)
		b.dial(t.Context())
		is.Equal(b.log.String(), "") // there is nothing to go on with
		b.server.says("10.0.0.1")
		b.wantDial(t, "10.0.0.1", 0)
		b.server.fails(errServer)
		for range 59 {
			b.wantDial(t, "10.0.0.1", 0)
			time.Sleep(time.Second)
		}
		is.Equal(strings.Count(b.log.String(), "level=WARN"), 1)
		is.True(strings.Contains(b.log.String(), "gives no answer"))
		is.True(strings.Contains(b.log.String(), "[10.0.0.1]"))
		b.server.fails(errUnknown)
		b.wantDial(t, "10.0.0.1", 0)
		is.Equal(strings.Count(b.log.String(), "level=WARN"), 2) // that is something else
		is.True(strings.Contains(b.log.String(), "does not know"))
		b.server.fails(errServer)
		time.Sleep(time.Second)
		b.wantDial(t, "10.0.0.1", 0)
		is.Equal(strings.Count(b.log.String(), "level=WARN"), 3)
		is.Equal(strings.Count(b.log.String(), "last addresses are used"), 3)

		time.Sleep(time.Minute) // the name is unknown for more than the half
		b.dial(t.Context())
		is.Equal(strings.Count(b.log.String(), "level=WARN"), 4)
		is.Equal(strings.Count(b.log.String(), "last addresses are used"), 3) // for they are not
		is.Equal(strings.Count(b.log.String(), "nor is any of its last addresses of use"), 1)
	})
}

func TestNextAddressIsTriedWhereOneRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, "10.0.0.3")
		b.wantDial(t, "10.0.0.3", 0)
		b.server.says("10.0.0.1", "10.0.0.2")
		_, _, err := b.dial(t.Context())
		is.True(errors.Is(err, syscall.ECONNREFUSED))
	})
}

func TestNextAddressIsTriedBesideOneThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1", "10.0.0.2"}, "10.0.0.1", "10.0.0.2")
		b.network.Blackhole("10.0.0.1:80")
		b.wantDial(t, "10.0.0.2", 300*time.Millisecond)
		is.Equal(b.network.Conns("10.0.0.2:80"), 0) // that one was closed by the test

		b.network.Blackhole("10.0.0.2:80")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, took, err := b.dial(ctx)
		is.True(errors.Is(err, context.DeadlineExceeded))
		is.Equal(took, 5*time.Second)
	})
}

func TestFamiliesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, []string{"fd00::1", "fd00::2", "fd00::3", "10.0.0.1"}, "10.0.0.1")
		for _, addr := range []string{"[fd00::1]:80", "[fd00::2]:80", "[fd00::3]:80"} {
			b.network.Blackhole(addr)
		}
		b.wantDial(t, "10.0.0.1", 300*time.Millisecond)
	})
}

// A late connection is one that was made although another had won.
func TestLateConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var late net.Conn
		dial := func(ctx context.Context, _, address string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			if address == "10.0.0.1:80" {
				<-ctx.Done() // too late to be noticed
				late = theirs
			}
			return ours, nil
		}
		server := new(nameServer)
		server.says("10.0.0.1", "10.0.0.2")
		n := resolve.New("web", resolve.Options{Lookup: server.lookup, Dial: dial})
		defer n.Close()
		conn, err := n.Dial(t.Context(), "tcp", "web:80")
		is.NoErr(err)
		defer conn.Close()
		_, err = late.Read(make([]byte, 1))
		is.Equal(err, io.EOF)
	})
}

func TestCloseEndsLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, nil)
		b.server.fails(nil)
		result := make(chan error, 1)
		go func() {
			_, _, err := b.dial(t.Context())
			result <- err
		}()
		synctest.Wait()
		began := time.Now()
		b.Close()
		is.True(<-result != nil)
		is.Equal(time.Since(began), time.Duration(0))
		_, _, err := b.dial(t.Context())
		is.True(errors.Is(err, net.ErrClosed))
	})
}

// What the system knows of names besides the name server holds, too.
func TestHostsFileIsAsked(t *testing.T) {
	is := is.New(t)
	n := resolve.New("localhost", resolve.Options{})
	defer n.Close()
	addrs, err := n.LookUp(t.Context())
	is.NoErr(err)
	for _, addr := range addrs {
		is.True(addr.IsLoopback())
	}
}
