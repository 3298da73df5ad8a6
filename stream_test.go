package parachute_test

import (
	"bufio"
	"context"
	"errors"
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

// ticker serves an app whose /events is an event stream with an event a
// second, and whose other paths echo what comes after an upgrade.
func (h *house) ticker(address string) {
	h.net.Serve(h.t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/events" {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			io.Copy(conn, rw)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
				return
			}
			http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Second):
			}
		}
	}))
}

// events opens the event stream, waits for its first event, and sends on the
// returned channel how long it lasted, and how it ended.
func (h *house) openEvents() <-chan ending {
	h.t.Helper()
	resp, err := h.client.Get("http://proxy.test/events")
	if err != nil {
		h.t.Fatal(err)
	}
	begin := time.Now()
	ended := make(chan ending, 1)
	go func() {
		defer resp.Body.Close()
		_, err := io.Copy(io.Discard, resp.Body)
		ended <- ending{time.Since(begin), err}
	}()
	synctest.Wait()
	return ended
}

type ending struct {
	after time.Duration
	err   error
}

// upgrade opens an upgraded connection that echoes.
func (h *house) upgrade() (net.Conn, *bufio.Reader) {
	h.t.Helper()
	conn, err := h.net.Dial(h.t.Context(), "tcp", "proxy.test:80")
	if err != nil {
		h.t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /echo HTTP/1.1\r\nHost: any.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		h.t.Fatal("no upgrade:", resp, err)
	}
	return conn, br
}

func TestStreamsAreClosedWithinASecondOfTheRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		var streams []<-chan ending
		for range 5 {
			streams = append(streams, h.openEvents())
		}
		conn, br := h.upgrade()
		defer conn.Close()
		fmt.Fprint(conn, "hello\n")
		line, _ := br.ReadString('\n')
		is.Equal(line, "hello\n")
		is.Equal(h.Services()[0].Live.Targets[0].Streams, int64(6))
		is.Equal(h.Services()[0].Live.Targets[0].Requests, int64(0))

		begin := time.Now()
		is.NoErr(h.deploy("web", "new.test:80"))
		is.True(time.Since(begin) <= time.Second)
		_, err := br.ReadByte()
		is.True(err != nil) // the upgraded connection has ended
		var first, last time.Duration = time.Hour, 0
		for _, s := range streams {
			e := <-s
			is.True(e.err != nil) // cut off visibly, not as if it were complete
			first, last = min(first, e.after), max(last, e.after)
		}
		is.True(first < last) // not all at one moment
		is.Equal(h.net.Conns("old.test:80"), 0)
	})
}

func TestStreamsMayOutliveTheRequestsForAsLongAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		stream := h.openEvents()
		begin := time.Now()
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"},
			Timeouts: parachute.Timeouts{Stream: 100 * time.Second}}))
		took := time.Since(begin)
		is.True(took >= 90*time.Second && took <= 100*time.Second) // the closes are spread over the last tenth
		is.True((<-stream).err != nil)
	})
}

func TestDeployReturnsEarlyWhenTheStreamsEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		conn, _ := h.upgrade()
		time.AfterFunc(7*time.Second, func() { conn.Close() })
		begin := time.Now()
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"},
			Timeouts: parachute.Timeouts{Stream: time.Hour}}))
		is.Equal(time.Since(begin), 7*time.Second)
	})
}

func TestStreamsAreClosedAtTheSwitchWhereSoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		stream := h.openEvents()
		begin := time.Now()
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"},
			Timeouts: parachute.Timeouts{Stream: -1}}))
		is.True(time.Since(begin) < time.Millisecond)
		is.True((<-stream).after < time.Millisecond)
	})
}

func TestLateRequestsAreCutAtTheirLimitThoughStreamsMayLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.net.Serve(t, "old.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/events" {
				w.Header().Set("Content-Type", "text/event-stream")
				http.NewResponseController(w).Flush()
			}
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Second):
			}
		}))
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		stream := h.openEvents()
		begin := time.Now()
		cut := make(chan time.Duration, 1)
		go func() {
			if answer := h.get("any.test"); answer == "504 504 Gateway Timeout" {
				cut <- time.Since(begin)
			}
		}()
		synctest.Wait()
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"},
			Timeouts: parachute.Timeouts{Drain: 2 * time.Second, Stream: 10 * time.Second}}))
		is.Equal(<-cut, 2*time.Second)
		is.True((<-stream).after >= 11*time.Second) // 2 s, and nine tenths of 10 s
	})
}

// It began before the switch, so nobody but its target can answer it.
func TestAnswerThatTurnsOutAStreamInADrainHasItsHeadPassedOnAndIsThenEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		outcomes := make(chan parachute.Outcome, 1)
		h := newHouse(t, parachute.Options{Observe: func(r *http.Request, o parachute.Outcome) { outcomes <- o }})
		h.net.Serve(t, "old.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second) // the app's work
			w.Header().Set("Content-Type", "text/event-stream")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		answer := make(chan ending, 1)
		go func() {
			begin := time.Now()
			resp, err := h.client.Get("http://proxy.test/")
			if err == nil && resp.StatusCode == http.StatusOK {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			answer <- ending{time.Since(begin), err}
		}()
		synctest.Wait()
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"new.test:80"},
			Timeouts: parachute.Timeouts{Stream: -1}}))
		is.Equal(<-answer, ending{time.Second, io.ErrUnexpectedEOF}) // the head of a 200, and no proper end
		is.Equal((<-outcomes).Status, 200)
		drained := h.of(parachute.EventDrained)
		is.Equal(drained[len(drained)-1].Streams, int64(1)) // counted as a stream that was closed
		is.Equal(drained[len(drained)-1].Requests, int64(0))
	})
}

func TestADeployLeavesOtherServicesConnectionsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("stream.test:80")
		h.app("old", "old.test:80")
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("stream", "stream.test:80"))
		conn, br := h.upgrade()
		defer conn.Close()
		for _, target := range []string{"old.test:80", "new.test:80"} {
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Hosts: []string{"web.test"}, Targets: []string{target}}))
		}
		is.NoErr(h.Remove(t.Context(), "web"))
		fmt.Fprint(conn, "still here\n")
		line, _ := br.ReadString('\n')
		is.Equal(line, "still here\n")
	})
}

func TestShutdownClosesStreamsAndWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("stream.test:80")
		h.slow("slow", "slow.test:80", 5*time.Second)
		is.NoErr(h.deploy("stream", "stream.test:80"))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "slow", Hosts: []string{"slow.test"}, Targets: []string{"slow.test:80"}}))
		waits := make(chan error)
		go func() { waits <- h.deploy("stream", "nobody.test:80") }()
		stream := h.openEvents()
		answer := h.ask("slow.test")

		begin := time.Now()
		ended := make(chan error)
		go func() { ended <- h.Shutdown(t.Context()) }()
		is.True((<-stream).after <= time.Second)
		is.True(errors.Is(<-waits, parachute.ErrClosed))                              // what waited for health has ended
		is.True(errors.Is(h.deploy("stream", "stream.test:80"), parachute.ErrClosed)) // and nothing new begins
		is.Equal(<-answer, "200 slow")
		is.NoErr(<-ended)
		is.Equal(time.Since(begin), 5*time.Second)
		is.Equal(h.get("slow.test"), "200 slow") // new requests are served until the server stops
	})
}

// A stream may begin while Shutdown waits for those before it.
func TestShutdownWaitsForStreamsThatBeginMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.ticker("stream.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"stream.test:80"},
			Timeouts: parachute.Timeouts{Stream: 10 * time.Second}}))
		first := h.openEvents()
		begin := time.Now()
		shut := make(chan error, 1)
		go func() { shut <- h.Shutdown(t.Context()) }()
		time.Sleep(4 * time.Second)
		second := h.openEvents()
		is.NoErr(<-shut)
		took := time.Since(begin)
		is.True(took >= 18*time.Second && took <= 20*time.Second) // two drains, of which each ends within the last tenth of its time
		synctest.Wait()
		for i, stream := range []<-chan ending{first, second} {
			select {
			case ended := <-stream:
				is.True(ended.after >= 9*time.Second) // it was let be as long as the Deployment says
			default:
				t.Fatalf("stream %d was still open when Shutdown returned", i+1)
			}
		}
	})
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("slow", "slow.test:80", 20*time.Second)
		is.NoErr(h.deploy("web", "slow.test:80"))
		answer := h.ask("any.test")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		is.True(errors.Is(h.Shutdown(ctx), context.DeadlineExceeded))
		is.NoErr(h.Close())
		is.Equal(<-answer, "504 504 Gateway Timeout") // Close cuts what is left
		is.Equal(h.net.Conns("slow.test:80"), 0)
	})
}

func TestShutdownThatGivesUpCutsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("slow", "slow.test:80", 5*time.Second)
		is.NoErr(h.deploy("web", "slow.test:80"))
		answer := h.ask("any.test")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		is.True(errors.Is(h.Shutdown(ctx), context.DeadlineExceeded))
		is.Equal(<-answer, "200 slow") // to cut is for Close
	})
}

func TestCloseEndsDeploysThatWaitOrDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("old", "old.test:80", 20*time.Second)
		h.app("new", "new.test:80")
		is.NoErr(h.deploy("web", "old.test:80"))
		go h.get("any.test")
		synctest.Wait()
		drains, waits := make(chan error, 1), make(chan error, 1)
		go func() { drains <- h.deploy("web", "new.test:80") }()
		go func() {
			waits <- h.Deploy(t.Context(), parachute.Deployment{Service: "other", Hosts: []string{"other.test"}, Targets: []string{"nobody.test:80"}})
		}()
		synctest.Wait()
		begin := time.Now()
		is.NoErr(h.Close())
		is.Equal(time.Since(begin), time.Duration(0))
		is.NoErr(<-drains) // it had switched
		is.True(errors.Is(<-waits, parachute.ErrClosed))
		is.NoErr(h.Close()) // a second time is nothing
	})
}
