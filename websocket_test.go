package parachute_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// The frames of these tests (RFC 6455, section 5.2): a text from each side, and
// a Close frame of status 1001 to a client. One to a target has a mask.
const (
	textUp    = "\x81\x85abcd\x09\x07\x0f\x08\x0e"
	textDown  = "\x81\x05hello"
	goingAway = "\x88\x02\x03\xe9"
	agreeUp   = "\x88\x82\x00\x00\x00\x00\x03\xe9"
	agreeDown = goingAway
)

// chat serves an app of WebSockets at address, and sends its ends of them on the
// returned channel.
func (h *house) chat(address string) <-chan net.Conn {
	h.t.Helper()
	conns := make(chan net.Conn, 100)
	h.net.Serve(h.t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return // a probe
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
		conns <- conn
	}))
	return conns
}

// talk opens a WebSocket on which a message has gone each way.
func (h *house) talk(targets <-chan net.Conn) (client, target net.Conn) {
	h.t.Helper()
	client, err := h.net.Dial(h.t.Context(), "tcp", "proxy.test:80")
	if err != nil {
		h.t.Fatal(err)
	}
	fmt.Fprint(client, "GET /chat HTTP/1.1\r\nHost: any.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	br := bufio.NewReader(client)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		h.t.Fatal("no upgrade:", resp, err)
	}
	target = <-targets
	io.WriteString(client, textUp)
	io.WriteString(target, textDown)
	up, down := make([]byte, len(textUp)), make([]byte, len(textDown))
	_, upErr := io.ReadFull(target, up)
	_, downErr := io.ReadFull(br, down)
	if upErr != nil || downErr != nil || string(up) != textUp || string(down) != textDown {
		h.t.Fatalf("%q %v, %q %v", up, upErr, down, downErr)
	}
	h.t.Cleanup(func() { client.Close() })
	h.t.Cleanup(func() { target.Close() })
	return client, target
}

// wordsOf has an end of a WebSocket answer the first thing that comes with
// answer, and sends all that came on the returned channel, when that has ended.
func wordsOf(conn net.Conn, answer string) <-chan string {
	words := make(chan string, 1)
	go func() {
		first := make([]byte, 100)
		n, err := conn.Read(first)
		if err == nil {
			io.WriteString(conn, answer)
		}
		rest, _ := io.ReadAll(conn)
		conn.Close()
		words <- string(first[:n]) + string(rest)
	}()
	return words
}

// unmasked returns a Close frame to a target as it were to a client.
func unmasked(frame string) string {
	if len(frame) != 8 || frame[:2] != "\x88\x82" {
		return "no masked Close frame: " + frame
	}
	return "\x88\x02" + string([]byte{frame[6] ^ frame[2], frame[7] ^ frame[3]})
}

func TestTheEndsOfAWebSocketAreToldWhenItIsClosed(t *testing.T) {
	for name, change := range map[string]func(h *house) error{
		"by a deploy": func(h *house) error { return h.deploy("web", "new.test:80") },
		"by a deploy that leaves it longer": func(h *house) error {
			return h.Deploy(h.t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}, Timeouts: parachute.Timeouts{Stream: time.Second}})
		},
		"by a deploy that closes it at the switch": func(h *house) error {
			return h.Deploy(h.t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}, Timeouts: parachute.Timeouts{Stream: -1}})
		},
		"by a deploy with no time to drain": func(h *house) error {
			return h.Deploy(h.t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}, Timeouts: parachute.Timeouts{Drain: -1}})
		},
		"by a removal":  func(h *house) error { return h.Remove(h.t.Context(), "web") },
		"by a pause":    func(h *house) error { return h.Pause(h.t.Context(), "web", parachute.Pause{}) },
		"by a stop":     func(h *house) error { return h.Stop(h.t.Context(), "web", parachute.Stop{}) },
		"by a shutdown": func(h *house) error { return h.Shutdown(h.t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				targets := h.chat("old.test:80")
				h.app("new", "new.test:80")
				is.NoErr(h.deploy("web", "old.test:80"))
				client, target := h.talk(targets)
				atClient, atTarget := wordsOf(client, agreeUp), wordsOf(target, agreeDown)
				begin := time.Now()
				is.NoErr(change(h))
				is.True(time.Since(begin) <= time.Second)
				is.Equal(<-atClient, goingAway)
				is.Equal(unmasked(<-atTarget), goingAway)
			})
		})
	}
}

// TestShutdownClosesWebSocketsInTimeBeforeItsContextEnds: what is there when it returns,
// Close cuts, as a program does that has to end.
func TestShutdownClosesWebSocketsInTimeBeforeItsContextEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		stream, limit time.Duration
		request       time.Duration // how long one takes to the same service; 0: there is none
		after         time.Duration // it is told to end that much later, or a little before
	}{
		"they may last longer":                       {stream: time.Hour, limit: 30 * time.Second, after: 29 * time.Second},
		"they may last a little longer":              {stream: 30 * time.Second, limit: 30 * time.Second, after: 29 * time.Second},
		"they may last until a request has ended":    {limit: 30 * time.Second, request: time.Hour, after: 29 * time.Second},
		"they may last longer, and a request does":   {stream: time.Hour, limit: 30 * time.Second, request: time.Hour, after: 29 * time.Second},
		"they may last long, and a request a while":  {stream: 20 * time.Second, limit: 30 * time.Second, request: 15 * time.Second, after: 29 * time.Second},
		"there is a second":                          {limit: time.Second},
		"there is a second, and a request that runs": {limit: time.Second, request: time.Hour},
		"they may last less":                         {stream: 10 * time.Second, limit: 30 * time.Second, after: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				targets := h.chat("web.test:80")
				h.slow("slow", "slow.test:80", tt.request)
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web.test:80"}, Timeouts: parachute.Timeouts{Stream: tt.stream, Response: -1}}))
				client, target := h.talk(targets)
				if tt.request > 0 {
					is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"slow.test:80"}, Split: parachute.Split{Percent: 100}}))
					h.ask("any.test")
					synctest.Wait()
				}
				begin := time.Now()
				var told time.Duration
				var atClient string
				heard := make(chan struct{})
				go func() {
					defer close(heard)
					first := make([]byte, len(goingAway))
					io.ReadFull(client, first)
					atClient, told = string(first), time.Since(begin)
				}()
				atTarget := wordsOf(target, "")
				ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
				defer cancel()
				h.Shutdown(ctx)
				is.NoErr(h.Close())
				is.Equal(unmasked(<-atTarget), goingAway)
				<-heard
				is.Equal(atClient, goingAway)
				is.True(told <= tt.after && told >= tt.after-4*time.Second)
				is.True(tt.after == 0 || tt.request > 0 || told < tt.after) // not all of them at once
			})
		})
	}
}

// They are of no service any more, in the Proxy that ends or in the one before it.
func TestWebSocketsOfARemovedServiceAreClosedInTimeBeforeTheEnd(t *testing.T) {
	for name, end := range map[string]func(h *house, ctx context.Context) error{
		"by a shutdown while the removal waits": func(h *house, ctx context.Context) error {
			go h.Remove(h.t.Context(), "web")
			synctest.Wait()
			return h.Shutdown(ctx)
		},
		"by a handover that comes to an end": func(h *house, ctx context.Context) error {
			next := h.replace()
			go next.Remove(h.t.Context(), "web")
			synctest.Wait()
			return h.HandOver(ctx, time.Hour)
		},
		"by a handover, though nobody waits for them": func(h *house, ctx context.Context) error {
			h.replace()
			h.Follow("web", nil)
			return h.HandOver(ctx, time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				targets := h.chat("web.test:80")
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web.test:80"}, Timeouts: parachute.Timeouts{Stream: time.Hour}}))
				client, target := h.talk(targets)
				atClient, atTarget := wordsOf(client, agreeUp), wordsOf(target, agreeDown)
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				is.NoErr(end(h, ctx)) // nobody is inside
				is.True(time.Since(begin) > 25*time.Second)
				is.True(time.Since(begin) < 30*time.Second)
				is.Equal(<-atClient, goingAway)
				is.Equal(unmasked(<-atTarget), goingAway)
			})
		})
	}
}

func TestADrainHasTimeForClientsThatDoNotAnswer(t *testing.T) {
	for name, limits := range map[string]parachute.Timeouts{
		"usually":              {},
		"with no patience":     {Drain: -1},
		"closed at the switch": {Stream: -1},
		"closed later":         {Stream: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				targets := h.chat("old.test:80")
				h.app("new", "new.test:80")
				is.NoErr(h.deploy("web", "old.test:80"))
				var atClients, atTargets []<-chan string
				for range 20 {
					client, target := h.talk(targets)
					atClients = append(atClients, wordsOf(client, ""))
					atTargets = append(atTargets, wordsOf(target, ""))
				}
				begin := time.Now()
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}, Timeouts: limits}))
				is.True(time.Since(begin) <= max(limits.Stream, time.Second)+time.Second)
				for i := range atClients {
					is.Equal(<-atClients[i], goingAway)
					is.Equal(unmasked(<-atTargets[i]), goingAway)
				}
				drained := h.of(parachute.EventDrained)
				is.Equal(drained[len(drained)-1].Streams, int64(20))
			})
		})
	}
}

// Who says so does not want it of what is closed by the deploy, nor of what was
// opened under it.
func TestWebSocketsAreCutWhereADeploymentSaysSo(t *testing.T) {
	for name, silent := range map[string]struct{ old, new bool }{
		"the old one": {old: true},
		"the new one": {new: true},
		"both":        {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				targets := h.chat("old.test:80")
				h.app("new", "new.test:80")
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"old.test:80"}, NoWebSocketClose: silent.old}))
				client, target := h.talk(targets)
				atClient, atTarget := wordsOf(client, agreeUp), wordsOf(target, agreeDown)
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"}, NoWebSocketClose: silent.new}))
				is.Equal(<-atClient, "")
				is.Equal(<-atTarget, "")
			})
		})
	}
}

func TestARestoredServiceKeepsItsWordOnWebSockets(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprint(silent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				targets := h.chat("old.test:80")
				s := status("web", 1, "old.test:80")
				s.Deployment.NoWebSocketClose = silent
				is.NoErr(h.Restore([]parachute.Status{s}))
				client, target := h.talk(targets)
				atClient, atTarget := wordsOf(client, agreeUp), wordsOf(target, agreeDown)
				is.NoErr(h.Shutdown(t.Context()))
				is.Equal(<-atClient == "", silent)
				is.Equal(<-atTarget == "", silent)
			})
		})
	}
}

func TestCloseCutsWebSocketsAtOnce(t *testing.T) {
	for _, leaving := range []bool{false, true} {
		t.Run(fmt.Sprint("while they are leaving: ", leaving), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				targets := h.chat("old.test:80")
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"old.test:80"}, Timeouts: parachute.Timeouts{Stream: -1}}))
				client, target := h.talk(targets)
				atClient, atTarget := wordsOf(client, ""), wordsOf(target, "")
				want := ""
				if leaving {
					want = goingAway
					go h.Shutdown(t.Context())
					synctest.Wait()
				}
				begin := time.Now()
				is.NoErr(h.Close())
				is.Equal(<-atClient, want)
				<-atTarget
				is.Equal(time.Since(begin), time.Duration(0))
			})
		})
	}
}
