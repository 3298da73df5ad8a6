package parachute_test

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// post returns the answer to a POST on any host.
func (h *house) post(body string) string {
	r, err := http.NewRequest("POST", "http://proxy.test/", strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	return h.do(r)
}

// load has n clients call send, which each of them does again and again with
// pauses in which the clock can go on, until the returned func is called. That
// one waits for them and returns the answers that do not begin with 200.
func load(t *testing.T, n int, send func(client int) string) (end func() (failures []string)) {
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var mu sync.Mutex
	var failures []string
	for client := range n {
		clients.Go(func() {
			for ctx.Err() == nil {
				if answer := send(client); !strings.HasPrefix(answer, "200 ") {
					mu.Lock()
					failures = append(failures, answer)
					mu.Unlock()
				}
				time.Sleep(5 * time.Millisecond) // the client thinks
			}
		})
	}
	return func() []string {
		stop()
		clients.Wait()
		return failures
	}
}

func TestTargetKilledUnderLoadFailsNoGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		one := h.slow("one", "one.test:80", 50*time.Millisecond)
		h.slow("two", "two.test:80", 50*time.Millisecond)
		is.NoErr(h.deploy("web", "one.test:80", "two.test:80"))
		end := load(t, 12, func(int) string { return h.get("any.test") })
		for range 3 {
			time.Sleep(time.Second)
			one.Stop()
			time.Sleep(2 * time.Second)
			one.Start()
		}
		is.Equal(end(), nil)
	})
}

// Even what the app had begun is answered, if it may be sent twice. What a POST
// was doing when its app was killed nobody knows.
func TestAppRestartedInPlaceUnderLoadGivesNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.slow("app", "app.test:80", 50*time.Millisecond)
		is.NoErr(h.deploy("web", "app.test:80"))
		end := load(t, 12, func(int) string { return h.get("any.test") })
		for range 2 {
			time.Sleep(time.Second)
			app.Stop()
			posted := make(chan string, 1)
			go func() { posted <- h.post("hello") }()
			time.Sleep(2 * time.Second)
			app.Start()
			is.Equal(<-posted, "200 app")
		}
		is.Equal(end(), nil)
	})
}

// A target gives up connections that were idle for a second just when requests
// come that must not be sent twice.
func TestTargetThatClosesIdleConnectionsFailsNoPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.net.Script(t, "app.test:80", func(conn net.Conn, n int) {
			br := bufio.NewReader(conn)
			for {
				conn.SetReadDeadline(time.Now().Add(time.Second))
				r, err := http.ReadRequest(br)
				if err != nil {
					time.Sleep(300 * time.Microsecond) // in which what arrives is lost
					return
				}
				io.Copy(io.Discard, r.Body)
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})
		is.NoErr(h.deploy("web", "app.test:80"))
		var clients sync.WaitGroup
		answers := make(chan string, 2000)
		for range 100 {
			clients.Go(func() {
				for range 20 {
					answers <- h.post("hello")
					time.Sleep(time.Second + time.Duration(rand.IntN(1000)-500)*time.Microsecond)
				}
			})
		}
		clients.Wait()
		close(answers)
		for a := range answers {
			is.Equal(a, "200 ok")
		}
	})
}

// Real sockets, for what the system counts.
func TestManyDeploysLeaveNothingBehind(t *testing.T) {
	is := is.New(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "app") }))
	defer app.Close()
	p, get := front(t, parachute.Options{})
	round := func() {
		is.NoErr(p.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{app.Listener.Addr().String()}}))
		is.Equal(get(), "app")
		is.NoErr(p.Remove(t.Context(), "web"))
	}
	round() // what is made once is made
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for range 500 {
		round()
	}
	begin := time.Now()
	// Both ends of a connection are ours, and the app's notices a little later.
	for runtime.NumGoroutine() > goroutines || openFiles(t) > files {
		if time.Since(begin) > time.Minute {
			t.Fatalf("%d goroutines became %d, %d files %d", goroutines, runtime.NumGoroutine(), files, openFiles(t))
		}
		runtime.Gosched()
	}
}

// openFiles returns how many file descriptors this process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Skip("this system does not show its file descriptors:", err)
	}
	return len(fds)
}
