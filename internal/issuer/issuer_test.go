package issuer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/issuer"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A scene is an authority, and the servers that it looks at to see who owns a
// name.
type scene struct {
	t   *testing.T
	net *proxytest.Net
	ca  *proxytest.CA
	url string
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, net: new(proxytest.Net), ca: proxytest.NewCA()}
	s.ca.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(address)
		return s.net.Dial(ctx, network, "server.test:"+port)
	}
	s.url = s.ca.Serve(t, s.net, "ca.test:443")
	return s
}

// open returns an Issuer that is closed at the end of the test.
func (s *scene) open(cache autocert.Cache, notify func(string, error)) *issuer.Issuer {
	i := issuer.New(issuer.Options{
		Directory: s.url,
		Cache:     cache,
		Transport: s.ca.Client(s.t, s.net).Transport,
		Notify:    notify,
	})
	s.t.Cleanup(i.Close)
	return i
}

// openAnswering returns an Issuer that answers the challenge of one type.
func (s *scene) openAnswering(cache autocert.Cache, notify func(string, error)) *issuer.Issuer {
	i := s.open(cache, notify)
	s.answer(i, "tls-alpn-01")
	return i
}

// answer has i answer challenges of the given types.
func (s *scene) answer(i *issuer.Issuer, challenges ...string) {
	s.t.Helper()
	if slices.Contains(challenges, "tls-alpn-01") {
		config := &tls.Config{
			NextProtos: []string{"acme-tls/1"},
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				return i.Challenge(hello, hello.ServerName), nil
			},
		}
		s.net.ServeTLS(s.t, "server.test:443", config, http.NotFoundHandler())
	}
	if slices.Contains(challenges, "http-01") {
		s.net.Serve(s.t, "server.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token := strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/")
			if answer, ok := i.Token(r.Context(), r.Host, token); ok {
				w.Write(answer)
			}
		}))
	}
}

// A diary keeps what an Issuer tells.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	line := name + ": new certificate"
	if err != nil {
		line = name + ": " + err.Error()
	}
	d.lines = append(d.lines, line)
}

func (d *diary) has(part string) bool {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.lines, func(line string) bool { return strings.Contains(line, part) })
}

// A memory is a cache that can be made to fail.
type memory struct {
	mu       sync.Mutex
	data     map[string][]byte
	get, put error
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.get != nil {
		return nil, m.get
	}
	data, ok := m.data[key]
	if !ok {
		return nil, autocert.ErrCacheMiss
	}
	return data, nil
}

func (m *memory) Put(_ context.Context, key string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.put != nil {
		return m.put
	}
	if m.data == nil {
		m.data = make(map[string][]byte)
	}
	m.data[key] = data
	return nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.data, key)
	return nil
}

func (m *memory) fail(get, put error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.get, m.put = get, put
}

// A lockable is a memory whose names can be locked.
type lockable struct {
	memory
	turn chan struct{} // has room for one
}

func (l *lockable) Lock(ctx context.Context, name string) (func(), error) {
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestCertificateIsObtainedByEitherChallenge(t *testing.T) {
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s, told := newScene(t), new(diary)
				i := s.open(nil, told.note)
				s.answer(i, challenge)
				n := i.Want("app.test")
				defer n.Release()
				cert, err := n.Await(within(t, time.Minute))
				is.NoErr(err)
				is.Equal(cert.Leaf.DNSNames, []string{"app.test"})
				is.Equal(cert, n.Certificate())
				synctest.Wait()
				is.Equal(told.lines, []string{"app.test: new certificate"})
				status := n.Status()
				is.Equal(status.Err, nil)
				is.Equal(status.Next, cert.Leaf.NotAfter.Add(-30*24*time.Hour)) // a third of 90 days
			})
		})
	}
}

func TestWhoeverWantsANameGetsTheOneCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		i := s.openAnswering(nil, nil)
		var waiting sync.WaitGroup
		for range 10 {
			waiting.Go(func() {
				n := i.Want("app.test")
				defer n.Release()
				if _, err := n.Await(within(t, time.Minute)); err != nil {
					t.Error(err)
				}
			})
		}
		waiting.Wait()
		is.Equal(s.ca.Orders("app.test"), 1)
		n := i.Want("app.test")
		defer n.Release()
		is.True(n.Certificate() != nil) // it is still there
	})
}

func TestAuthorityThatIsDownIsAskedAgainWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, told := newScene(t), new(diary)
		i := s.openAnswering(nil, told.note)
		s.ca.Down(true)
		n := i.Want("app.test")
		defer n.Release()
		began := time.Now()
		_, err := n.Await(within(t, 30*time.Second))
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "refused"))
		is.True(strings.HasSuffix(err.Error(), "; the next attempt would be in 1m"))
		is.Equal(time.Since(began), time.Duration(0)) // nobody waits for an attempt that comes too late
		is.True(told.has("refused"))
		is.True(told.has("; the next attempt is in 1m"))
		next := time.Until(n.Status().Next)
		is.True(next > time.Minute && next < 70*time.Second)

		time.Sleep(24 * time.Hour)
		synctest.Wait()
		dials := s.net.Dials("ca.test:443")
		is.True(dials >= 9 && dials <= 13) // at 0, 1, 3, 7, 15, 31 minutes, 1, 2, 4, 8.5, 14.5, 20.5 hours
		is.True(time.Until(n.Status().Next) <= 7*time.Hour)

		s.ca.Down(false)
		_, err = n.Await(within(t, 7*time.Hour))
		is.NoErr(err)
		is.Equal(s.ca.Orders("app.test"), 1)
		is.Equal(n.Status().Err, nil)
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		i := s.openAnswering(nil, nil)
		s.ca.RateLimit(3 * time.Hour)
		n := i.Want("app.test")
		defer n.Release()
		_, err := n.Await(within(t, time.Minute))
		is.True(err != nil)
		is.Equal(s.ca.Orders("app.test"), 1) // 429 is not repeated at once
		is.True(time.Until(n.Status().Next) >= 3*time.Hour)
	})
}

func TestWhyANameCouldNotBeVerifiedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		i := s.open(nil, nil)
		s.answer(i) // nothing: nobody listens
		n := i.Want("app.test")
		defer n.Release()
		_, err := n.Await(within(t, time.Minute))
		is.True(err != nil)
		text := err.Error()
		is.True(strings.Contains(text, "the authority could not verify it: tls-alpn-01: "))
		is.True(strings.Contains(text, "; http-01: ")) // each challenge that was tried
		is.True(strings.Contains(text, "refused"))     // and what the authority saw
	})
}

func TestNameThatNobodyWantsIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		i := s.openAnswering(nil, nil)
		s.ca.Down(true)
		one, two := i.Want("app.test"), i.Want("app.test")
		is.Equal(one, two)
		synctest.Wait()
		one.Release()
		dials := s.net.Dials("ca.test:443")
		time.Sleep(2 * time.Minute)
		is.True(s.net.Dials("ca.test:443") > dials) // the other still does
		two.Release()
		dials = s.net.Dials("ca.test:443")
		time.Sleep(48 * time.Hour)
		is.Equal(s.net.Dials("ca.test:443"), dials)

		s.ca.Down(false)
		again := i.Want("app.test")
		defer again.Release()
		_, err := again.Await(within(t, time.Second))
		is.NoErr(err) // at once, for the last attempt was long ago
	})
}

// A new deploy is a reason to try, but not more often than once a minute.
func TestNameWantedAnewBeginsWithTheShortestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		i := s.openAnswering(nil, nil)
		s.ca.Down(true)
		n := i.Want("app.test")
		defer n.Release()
		time.Sleep(20 * time.Hour)
		is.True(time.Until(n.Status().Next) > time.Minute)
		s.ca.Down(false)
		again := i.Want("app.test")
		defer again.Release()
		_, err := again.Await(within(t, time.Minute))
		is.NoErr(err)
		is.Equal(s.ca.Orders("app.test"), 1)
	})
}

func TestCertificateIsRenewedWithoutAnybodyAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		s.ca.Lifetime = 90 * time.Hour
		i := s.openAnswering(nil, nil)
		n := i.Want("app.test")
		defer n.Release()
		first, err := n.Await(within(t, time.Minute))
		is.NoErr(err)

		s.ca.Down(true)
		time.Sleep(70 * time.Hour)
		is.Equal(n.Certificate(), first) // the old one is used as long as it is valid
		is.True(n.Status().Err != nil)   // but why there is no new one is told
		s.ca.Down(false)
		time.Sleep(2 * time.Hour)
		is.True(n.Certificate() != first)
		is.Equal(n.Status().Err, nil)
		is.Equal(s.ca.Orders("app.test"), 2)
	})
}

func TestExpiredCertificateIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		s.ca.Lifetime = 90 * time.Hour
		i := s.openAnswering(nil, nil)
		n := i.Want("app.test")
		defer n.Release()
		_, err := n.Await(within(t, time.Minute))
		is.NoErr(err)
		s.ca.Down(true)
		time.Sleep(91 * time.Hour)
		is.True(n.Certificate() == nil)
		_, err = n.Await(within(t, 10*time.Second))
		is.True(err != nil)
		s.ca.Down(false)
		time.Sleep(2 * time.Hour)
		is.True(n.Certificate() != nil)
	})
}

func TestOrdersAtATimeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		i := s.openAnswering(nil, nil)
		s.ca.Slow(time.Second)
		var names []*issuer.Name
		for k := range 30 {
			names = append(names, i.Want(string(rune('a'+k/10))+string(rune('a'+k%10))+".test"))
		}
		time.Sleep(500 * time.Millisecond)
		is.Equal(s.ca.TotalOrders(), 20)
		for _, n := range names {
			_, err := n.Await(within(t, time.Minute))
			is.NoErr(err)
			n.Release()
		}
	})
}

func TestOnlyTokensOfWantedNamesAreLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		cache := &memory{data: map[string][]byte{
			"ca.test:443+abc_-9+http-01": []byte("abc.thumb"),
			"ca.test:443+../x+http-01":   []byte("secret"),
		}}
		i := s.open(cache, nil)
		_, ok := i.Token(t.Context(), "app.test", "abc_-9")
		is.True(!ok) // nobody wants the name
		s.ca.Down(true)
		defer i.Want("app.test").Release()
		answer, ok := i.Token(t.Context(), "app.test", "abc_-9")
		is.True(ok)
		is.Equal(string(answer), "abc.thumb")
		for _, token := range []string{"", "../x", "abc", "abc_-9/", "a+b", strings.Repeat("a", 129)} {
			_, ok := i.Token(t.Context(), "app.test", token)
			is.True(!ok) // token
		}
	})
}

func TestCloseEndsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		i := s.open(nil, nil)
		s.ca.Slow(time.Hour)
		n := i.Want("app.test")
		waiting := make(chan error)
		go func() {
			_, err := n.Await(t.Context())
			waiting <- err
		}()
		synctest.Wait()
		began := time.Now()
		i.Close()
		is.True(errors.Is(<-waiting, issuer.ErrClosed))
		is.True(time.Since(began) <= 5*time.Second)
		late := i.Want("late.test")
		_, err := late.Await(within(t, time.Second))
		is.True(err != nil) // nothing begins any more
	})
}
