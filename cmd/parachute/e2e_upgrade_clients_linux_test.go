package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/matryer/is"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/shahnk19/parachute/internal/proxytest"
)

var upgrades = flag.Int("upgrades", 2, "how many upgrades clients of every kind see; from 10 on, under as much load as in docs/operating.md")

// A sight is what the clients of one kind saw.
type sight struct {
	clients crowd
	kind    string

	mu     sync.Mutex      // guards what follows
	waits  []time.Duration // for the answer to one request, further attempts included
	failed map[string]int  // attempts, by cause
}

// watch has so many clients ask until ctx ends, each again as soon as it has an answer. ask
// makes one attempt, and returns its cause where it fails.
func watch(ctx context.Context, kind string, clients int, open func() (ask func() error, end func())) *sight {
	s := &sight{kind: kind, failed: make(map[string]int)}
	s.clients.start(clients, func(_ int, got *atomic.Int64) error {
		ask, end := open()
		defer func() { end() }()
		for ctx.Err() == nil {
			began := time.Now()
			for err := ask(); err != nil; err = ask() {
				s.fail(err)
				if ctx.Err() != nil {
					return nil
				}
				end()
				ask, end = open()
			}
			s.answer(time.Since(began))
			got.Add(1)
		}
		return nil
	})
	return s
}

func (s *sight) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[causeOf(err)]++
}

func (s *sight) answer(wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = append(s.waits, wait)
}

// The failures that clients of HTTP/3 are told to expect, and that have them use HTTP/2.
const (
	h3Rejected = "rejected unprocessed"
	h3Refused  = "connection refused"
	h3Closed   = "connection closed in good order"
	h3Reset    = "connection not known any more"
	h3Late     = "not connected in time" // one upgrade came after another
)

func causeOf(err error) string {
	var stream *http3.Error
	var transport *quic.TransportError
	var application *quic.ApplicationError
	var reset *quic.StatelessResetError
	var late *quic.IdleTimeoutError
	switch {
	case errors.As(err, &stream) && stream.ErrorCode == http3.ErrCodeRequestRejected:
		return h3Rejected
	case errors.As(err, &transport) && transport.ErrorCode == quic.ConnectionRefused:
		return h3Refused
	case errors.As(err, &application) && application.ErrorCode == quic.ApplicationErrorCode(http3.ErrCodeNoError),
		errors.As(err, &stream) && stream.ErrorCode == http3.ErrCodeNoError:
		return h3Closed
	case errors.As(err, &reset):
		return h3Reset
	case errors.As(err, &late):
		return h3Late
	}
	return fmt.Sprintf("%T: %v", err, err)
}

// line returns what s has for a table.
func (s *sight) line() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.waits)
	longest := s.waits[len(s.waits)-1].Round(time.Millisecond)
	most := s.waits[len(s.waits)*999/1000].Round(time.Millisecond)
	failed := "none"
	if len(s.failed) > 0 {
		failed = fmt.Sprint(s.failed)
	}
	return fmt.Sprintf("%s\t%d\t%v\t%v\t%s\n", s.kind, len(s.waits), most, longest, failed)
}

// unexpected returns what failed that clients of that kind are not told to expect.
func (s *sight) unexpected(expected ...string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := maps.Clone(s.failed)
	for _, cause := range expected {
		delete(failed, cause)
	}
	return failed
}

// asking returns an attempt by a client, which has to be answered by the app. It is one that
// no client makes again by itself, but for one of HTTP/2 that has not begun with it when it
// learns of GOAWAY: that needs the body anew.
func asking(by http.RoundTripper, url, host string) func() error {
	t, ok := by.(*http.Transport)
	isTwo := ok && t.Protocols.HTTP2()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("order"))
		if err != nil {
			return err
		}
		if r.Host = host; !isTwo {
			r.GetBody = nil
		}
		resp, err := by.RoundTrip(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != http.StatusOK || string(body) != "web") {
			err = fmt.Errorf("got %s, %q", resp.Status, body)
		}
		return err
	}
}

// The figures in docs/operating.md come from here.
func TestClientsOfEachVersionOfHTTPAreAnsweredOverUpgrades(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const host = "app1.example.com"
	env := newEnvironment(t).with(environment{"HTTPS_PORT": "0"})
	first, plain := startProxy(t, asPredecessor, env, "--http3")
	endProxy(t, env)
	var https struct{ Address string }
	is.NoErr(json.Unmarshal([]byte(first.stdout.await(t, first, `"protocol":"https"`)), &https))
	ca := proxytest.NewCA()
	certFile, keyFile := ca.WritePair(t, t.TempDir(), host, "localhost")
	a := newApp(t, "web")
	is.Equal(inProcess(t, env, "deploy", "web", "--target", a.address, "--host", host, "--host", "localhost",
		"--tls", "--tls-certificate-path", certFile, "--tls-private-key-path", keyFile, "--tls-redirect=false").wait(t), 0)

	share := func(all int) int {
		if *upgrades < 10 {
			return max(all/8, 2)
		}
		return all
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	overTCP := func(reuse bool, protocols func(*http.Protocols), url string) func() (func() error, func()) {
		return func() (func() error, func()) {
			by := &http.Transport{DisableKeepAlives: !reuse, Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: host}}
			protocols(by.Protocols)
			return asking(by, url, host), by.CloseIdleConnections
		}
	}
	one := func(p *http.Protocols) { p.SetHTTP1(true) }
	two := func(p *http.Protocols) { p.SetHTTP2(true) }
	sights := []*sight{
		watch(ctx, "HTTP/1.1, connection kept", share(32), overTCP(true, one, "http://"+plain+"/")),
		watch(ctx, "HTTP/1.1, one request each", share(32), overTCP(false, one, "http://"+plain+"/")),
		watch(ctx, "HTTP/1.1 over TLS, connection kept", share(16), overTCP(true, one, "https://"+https.Address+"/")),
		watch(ctx, "HTTP/2 over TLS", share(16), overTCP(true, two, "https://"+https.Address+"/")),
		watch(ctx, "HTTP/3", share(16), func() (func() error, func()) {
			by := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: host}}
			return asking(by, "https://"+https.Address+"/", host), func() { by.Close() }
		}),
	}
	streams := startAudience(t, plain, share(50), share(20))
	var took []time.Duration
	for range *upgrades {
		up := inProcess(t, env, "upgrade", "--wait", "--json")
		is.Equal(up.wait(t), 0)
		var done struct{ Took string }
		is.NoErr(json.Unmarshal([]byte(up.stdout.String()), &done))
		d, err := time.ParseDuration(done.Took)
		is.NoErr(err)
		took = append(took, d)
		// Whoever says nothing until the process after the next one is there may be hung
		// up on. So each has its second answer since then, and has been told by the first.
		for _, s := range sights {
			s.clients.awaitMore(t, 2)
		}
		streams.awaitMore(t, 2)
	}
	is.NoErr(streams.stop())
	cancel()
	for _, s := range sights {
		s.clients.done.Wait()
	}

	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "client\tanswered\t99.9 %\tlongest\tfailed attempts")
	for _, s := range sights {
		fmt.Fprint(w, s.line())
	}
	w.Flush()
	slices.Sort(took)
	t.Logf("%d upgrades, of %v to %v\n%s%d messages and events of %d WebSockets and %d event streams, %d times one ended in good order and began anew",
		*upgrades, took[0], took[len(took)-1], &table, streams.all(), share(50), share(20), streams.reopens.Load())
	for _, s := range sights[:4] {
		is.Equal(s.unexpected(), map[string]int{}) // over TCP nothing fails
	}
	is.Equal(sights[4].unexpected(h3Rejected, h3Refused, h3Closed, h3Reset, h3Late), map[string]int{})
}

// It would wait until the connection times out.
func TestClientOfHTTP3IsToldThatTheProxyWasKilled(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const host = "app1.example.com"
	port := proxytest.FreePort(t)
	env := newEnvironment(t).with(environment{"HTTPS_PORT": port})
	first, _ := startProxy(t, asBinary, env, "--http3")
	ca := proxytest.NewCA()
	certFile, keyFile := ca.WritePair(t, t.TempDir(), host)
	is.Equal(inProcess(t, env, "deploy", "web", "--target", newApp(t, "web").address, "--host", host,
		"--tls", "--tls-certificate-path", certFile, "--tls-private-key-path", keyFile).wait(t), 0)
	by := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: host}}
	defer by.Close()
	ask := asking(by, "https://127.0.0.1:"+port+"/", host)
	is.NoErr(ask())
	is.NoErr(first.signal(syscall.SIGKILL))
	first.wait(t)
	startProxy(t, asBinary, env, "--http3")
	var reset *quic.StatelessResetError
	if err := ask(); err != nil { // else it was told by then, and has another connection
		is.True(errors.As(err, &reset)) // the next process knows nothing of the connection
	}
	is.NoErr(ask()) // another one
}
