package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/notify"
	"github.com/shahnk19/parachute/internal/admission"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A request is one that a receiver got.
type request struct {
	header http.Header
	body   []byte
	at     time.Time
}

// A receiver takes notifications.
type receiver struct {
	answer func(n int, w http.ResponseWriter, r *http.Request) // to the n-th request, from 0; nil: 200

	mu  sync.Mutex // guards got
	got []request
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	n := len(r.got)
	r.got = append(r.got, request{req.Header.Clone(), body, time.Now()})
	r.mu.Unlock()
	if r.answer != nil {
		r.answer(n, w, req)
	}
}

func (r *receiver) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

// texts returns the field "text" of each request.
func (r *receiver) texts(t *testing.T) (all []string) {
	t.Helper()
	for _, got := range r.requests() {
		all = append(all, decode(t, got.body)["text"].(string))
	}
	return all
}

func decode(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return fields
}

// encodeEvent stands for the form that events have on the wire.
func encodeEvent(e parachute.Event) ([]byte, error) {
	return json.Marshal(map[string]any{"kind": e.Kind, "service": e.Service, "generation": e.Generation})
}

// A stage is a network with receivers, and what the log says.
type stage struct {
	net *proxytest.Net
	log bytes.Buffer // to be read once the Notifier is closed
}

func newStage() *stage { return &stage{net: new(proxytest.Net)} }

// receiver returns one at an address.
func (s *stage) receiver(t *testing.T, address string, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	s.net.Serve(t, address, r)
	return r
}

// receiverDown returns one that answers 502 for as long as it is down.
func (s *stage) receiverDown(t *testing.T, address string) (r *receiver, down *atomic.Bool) {
	t.Helper()
	down = new(atomic.Bool)
	down.Store(true)
	return s.receiver(t, address, func(_ int, w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}), down
}

// notifier returns a Notifier that serves and posts to these URLs, and closes it when the
// test ends.
func (s *stage) notifier(t *testing.T, c notify.Config, urls ...string) *notify.Notifier {
	t.Helper()
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		c.URLs = append(c.URLs, u)
	}
	c.EncodeEvent, c.Version, c.Dial = encodeEvent, "v1.2.3", s.net.Dial
	c.Logger = slog.New(slog.NewTextHandler(&s.log, nil))
	n := notify.New(c)
	t.Cleanup(func() { closeNow(n) })
	return n
}

// closeNow closes n without waiting for any receiver.
func closeNow(n *notify.Notifier) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.Close(ctx)
}

// counts returns what n says of a host.
func counts(n *notify.Notifier, host string) (sent, dropped uint64) {
	n.Counts(func(of string, s, d uint64) {
		if of == host {
			sent, dropped = s, d
		}
	})
	return sent, dropped
}

func switched(generation uint64) parachute.Event {
	return parachute.Event{Time: time.Now(), Service: "web", Generation: generation, Kind: parachute.EventSwitched, Targets: []string{"web-" + strconv.FormatUint(generation, 10) + ":3000"}}
}

func TestEventIsPostedWithASentenceAboutIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r := s.receiver(t, "hooks.example.com:80", nil)
		n := s.notifier(t, notify.Config{}, "http://hooks.example.com/deploys?to=ann")
		n.Serve("the proxy serves")
		e := switched(42)
		e.Release, e.By = "v7", "ann"
		n.Notify(e)
		synctest.Wait()
		is.Equal(len(r.requests()), 2)
		first, second := decode(t, r.requests()[0].body), decode(t, r.requests()[1].body)
		is.Equal(first["kind"], "started")
		is.Equal(first["text"], "the proxy serves")
		is.Equal(first["version"], "v1.2.3")
		is.True(first["time"] != nil) // when that was
		is.Equal(second["kind"], "switched")
		is.Equal(second["service"], "web")
		is.Equal(second["generation"], 42.0)
		is.Equal(second["text"], "web: generation 42, release v7, by ann serves at web-42:3000")
		is.True(first["id"] != second["id"] && second["id"] != "") // they can be told apart
		header := r.requests()[1].header
		is.Equal(header.Get("Content-Type"), "application/json")
		is.Equal(header.Get("User-Agent"), "parachute/v1.2.3")
		is.Equal(header["X-Parachute-Signature"], nil) // for there is no key
		sent, dropped := counts(n, "hooks.example.com")
		is.Equal(sent, uint64(2))
		is.Equal(dropped, uint64(0))
	})
}

func TestSlackGetsTheSentenceAloneWithItsSignsEscaped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r := s.receiver(t, "slack:80", nil)
		n := s.notifier(t, notify.Config{Format: notify.FormatSlack}, "http://slack/")
		n.Serve("a < b & c > d")
		n.Notify(parachute.Event{Service: "web", Generation: 2, Kind: parachute.EventFailed, Err: errors.New(strings.Repeat("é", 5000))})
		synctest.Wait()
		is.Equal(len(r.requests()), 2)
		fields := decode(t, r.requests()[0].body)
		is.Equal(len(fields), 1) // there is nothing but text
		is.True(strings.HasSuffix(fields["text"].(string), "a &lt; b &amp; c &gt; d"))
		long := decode(t, r.requests()[1].body)["text"].(string)
		is.True(len(long) < 3100)                 // it is cut off
		is.True(strings.HasSuffix(long, "é ...")) // between two characters
	})
}

func TestBodyIsSignedWithTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r := s.receiver(t, "hooks:80", nil)
		n := s.notifier(t, notify.Config{Key: []byte("key"), Format: notify.FormatSlack}, "http://hooks/")
		n.Notify(parachute.Event{Host: "app1.example.com", Kind: parachute.EventNoCertificate, Err: errors.New("no")})
		n.Leave()
		n.Serve("s")
		synctest.Wait()
		got := r.requests()
		is.Equal(len(got), 2)
		for _, one := range got {
			is.Equal(one.header.Get("X-Parachute-Signature"), "sha256="+hmacOf("key", one.body)) // of these bytes
		}
	})
}

func TestOnlyWhatAPersonWantsToHearIsTold(t *testing.T) {
	probe := &parachute.Probe{URL: "http://web-1:3000/up", Status: 503}
	day := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
	refused := errors.Join(admission.ErrRefused, errors.New("nobody knows it"))
	for name, tt := range map[string]struct {
		events []parachute.Event
		want   []string
	}{
		"a deploy": {
			[]parachute.Event{
				{Kind: parachute.EventDeploying, Service: "web"},
				{Kind: parachute.EventProbed, Service: "web", Target: "web-1:3000", Probe: probe},
				{Kind: parachute.EventHealthy, Service: "web", Target: "web-1:3000", Probe: probe, Probes: 2},
				{Kind: parachute.EventSwitched, Service: "web", Generation: 3, Targets: []string{"a:1", "b:1"}, Difference: parachute.Difference{Opened: []string{"web is no longer protected by --allow"}}},
				{Kind: parachute.EventDraining, Service: "web"},
				{Kind: parachute.EventDrained, Service: "web"},
				{Kind: parachute.EventBaking, Service: "web"},
			},
			[]string{"web: generation 3 serves at a:1, b:1; web is no longer protected by --allow"},
		},
		"a rollout": {
			[]parachute.Event{{Kind: parachute.EventSwitched, Service: "web", Generation: 4, Targets: []string{"a:1"}, Split: &parachute.Split{Percent: 10}}},
			[]string{"web: generation 4 serves at a:1 as a rollout, for 10% of the visitors"},
		},
		"a deploy that failed": {
			[]parachute.Event{{Kind: parachute.EventFailed, Service: "web", Generation: 4, Err: errors.New("a:1 did not become healthy")}},
			[]string{"web: generation 4 failed: a:1 did not become healthy"},
		},
		"a service that could not be restored": {
			[]parachute.Event{{Kind: parachute.EventFailed, Service: "web", Err: errors.New("no file")}},
			[]string{"web failed: no file"},
		},
		"a deploy that was taken back": {
			[]parachute.Event{
				{Kind: parachute.EventTakenBack, Service: "web", Generation: 5, Restores: 3, Err: errors.New("taken back, because 43 of 98 requests failed")},
				{Kind: parachute.EventSwitched, Service: "web", Generation: 6, Restores: 3, Targets: []string{"a:1"}},
			},
			[]string{"web: generation 5 was taken back, because 43 of 98 requests failed", "web: generation 6 serves at a:1, as generation 3 did"},
		},
		"a target that falls ill, and is well again": {
			[]parachute.Event{
				{Kind: parachute.EventHealthy, Service: "web", Target: "web-1:3000"},
				{Kind: parachute.EventUnhealthy, Service: "web", Target: "web-1:3000", Probe: probe},
				{Kind: parachute.EventHealthy, Service: "api", Target: "web-1:3000"},
				{Kind: parachute.EventHealthy, Service: "web", Target: "web-1:3000", Probes: 1},
				{Kind: parachute.EventHealthy, Service: "web", Target: "web-1:3000", Probe: &parachute.Probe{URL: "http://web-1:3000/up", Status: 200, Passed: true}},
				{Kind: parachute.EventHealthy, Service: "web", Target: "web-1:3000"},
			},
			[]string{"web: web-1:3000 is unhealthy: GET /up answered 503", "web: web-1:3000 is healthy again: GET /up answered 200"},
		},
		"targets that were ill when they were replaced": {
			[]parachute.Event{
				{Kind: parachute.EventUnhealthy, Service: "web", Target: "a:1"},
				{Kind: parachute.EventDrained, Service: "web", Unused: []string{"a:1"}},
				{Kind: parachute.EventHealthy, Service: "web", Target: "a:1"},
				{Kind: parachute.EventUnhealthy, Service: "web", Target: "b:1"},
				{Kind: parachute.EventUnhealthy, Service: "api", Target: "b:1"},
				{Kind: parachute.EventRemoved, Service: "web"},
				{Kind: parachute.EventHealthy, Service: "web", Target: "b:1"},
				{Kind: parachute.EventHealthy, Service: "api", Target: "b:1"},
			},
			[]string{"web: a:1 is unhealthy", "web: b:1 is unhealthy", "api: b:1 is unhealthy", "api: b:1 is healthy again"},
		},
		"a certificate that is missing, once a day until it is there": {
			[]parachute.Event{
				{Kind: parachute.EventCertificate, Host: "app1.example.com"},
				{Kind: parachute.EventNoCertificate, Host: "app1.example.com", Err: errors.New("no answer"), Time: day},
				{Kind: parachute.EventNoCertificate, Host: "app1.example.com", Err: errors.New("again"), Time: day.Add(24*time.Hour - 1)},
				{Kind: parachute.EventNoCertificate, Host: "app1.example.com", Err: errors.New("still"), Time: day.Add(24 * time.Hour)},
				{Kind: parachute.EventNoCertificate, Host: "stranger.example.com", Err: refused, Time: day},
				{Kind: parachute.EventCertificate, Host: "app1.example.com"},
				{Kind: parachute.EventCertificate, Host: "app1.example.com"},
			},
			[]string{"there is no new certificate for app1.example.com: no answer", "there is no new certificate for app1.example.com: still", "app1.example.com has its certificate"},
		},
		"what somebody does on purpose": {
			[]parachute.Event{
				{Kind: parachute.EventRemoved, Service: "web"}, {Kind: parachute.EventPaused, Service: "web"}, {Kind: parachute.EventStopped, Service: "web"},
				{Kind: parachute.EventResumed, Service: "web"}, {Kind: parachute.EventSplit, Service: "web"}, {Kind: parachute.EventRolloutEnded, Service: "web"},
			},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newStage()
				r := s.receiver(t, "hooks:80", nil)
				n := s.notifier(t, notify.Config{}, "http://hooks/")
				n.Serve("serves")
				for _, e := range tt.events {
					n.Notify(e)
				}
				synctest.Wait()
				is.Equal(r.texts(t)[1:], append([]string{}, tt.want...))
			})
		})
	}
}

func TestNothingIsToldByAProcessThatDoesNotServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r := s.receiver(t, "hooks:80", nil)
		n := s.notifier(t, notify.Config{}, "http://hooks/")
		n.Notify(switched(1))
		n.Stop("it stops")
		time.Sleep(time.Hour)
		is.Equal(len(r.requests()), 0) // before it serves

		n.Serve("it serves")
		n.Notify(switched(2))
		n.Leave()
		n.Notify(switched(3))
		n.Stop("it stops")
		n.Serve("it serves again")
		n.Notify(switched(4))
		n.Stop("it stops")
		synctest.Wait()
		is.Equal(r.texts(t), []string{
			"web: generation 1 serves at web-1:3000", "it serves", "web: generation 2 serves at web-2:3000",
			"it serves again", "web: generation 4 serves at web-4:3000", "it stops",
		})
	})
}

func TestReceiversDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		hanging := s.receiver(t, "hanging:80", func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		well := s.receiver(t, "well:80", nil)
		n := s.notifier(t, notify.Config{}, "http://hanging/", "http://well/")
		n.Serve("s")
		for g := range uint64(20) {
			n.Notify(switched(g + 1)) // which waits for nothing
		}
		synctest.Wait()
		is.Equal(len(well.requests()), 21)
		is.Equal(len(hanging.requests()), 1)
	})
}

func TestAddressOfAReceiverIsNoSecretButItsPathIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		s.receiver(t, "hooks:80", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
		s.receiver(t, "slow:80", func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		n := s.notifier(t, notify.Config{}, "http://hooks/T0/secret", "http://nobody:81/T1/secret", "http://user:secret@slow/")
		n.Serve("s")
		time.Sleep(time.Minute)
		closeNow(n)
		is.True(strings.Contains(s.log.String(), "host=hooks"))
		is.True(strings.Contains(s.log.String(), "host=nobody:81"))
		is.True(strings.Contains(s.log.String(), "no answer within 10s"))
		is.True(!strings.Contains(s.log.String(), "secret"))
		n.Counts(func(host string, _, _ uint64) {
			is.True(!strings.Contains(host, "secret")) // nor in metrics
		})
	})
}
