package parachute_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// inProcess has the handler for everything but health checks.
func inProcess(handle http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/up" {
			handle(w, r)
		}
	})
}

// behindHandler serves a Proxy with one service, whose target is handle, and
// returns a server to ask.
func behindHandler(t *testing.T, opts parachute.Options, handle http.HandlerFunc) (*parachute.Proxy, *proxytest.Front) {
	t.Helper()
	opts.Handlers = map[string]http.Handler{"app": inProcess(handle)}
	p := parachute.New(opts)
	t.Cleanup(func() { p.Close() })
	if err := p.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"handler:app"}}); err != nil {
		t.Fatal(err)
	}
	return p, proxytest.NewFront(t, p)
}

func TestHandlerIsATargetLikeAnyOther(t *testing.T) {
	is := is.New(t)
	p, server := behindHandler(t, parachute.Options{}, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprint(w, r.Method, " ", r.RequestURI, " ", r.Host, " ", string(body), " ", err, " ", r.RemoteAddr, " ", r.Header.Get("X-Forwarded-For") != "")
	})
	r, err := http.NewRequest("PUT", server.URL+"/a%2Fb?c", strings.NewReader("text"))
	is.NoErr(err)
	r.Host = "app.test"
	resp, err := server.Client().Do(r)
	is.NoErr(err)
	body, err := io.ReadAll(resp.Body)
	is.NoErr(err)
	is.Equal(string(body), "PUT /a%2Fb?c app.test text <nil> 127.0.0.1:0 true")
	live := p.Services()[0].Live.Targets[0]
	is.Equal(live.Address, "handler:app")
	is.Equal(live.Health, parachute.HealthHealthy)
	is.Equal(live.Probe.URL, "http://localhost/up")
}

func TestHandlerCanDoWhatAServerLetsItDo(t *testing.T) {
	is := is.New(t)
	_, server := behindHandler(t, parachute.Options{}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hints":
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "text")
			w.Header().Set("X-Sum", "7")
		case "/duplex":
			http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
			io.Copy(flushing{w}, r.Body)
		case "/upgrade":
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "echo")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			io.Copy(conn, rw)
		}
	})
	t.Run("1xx and trailers", func(t *testing.T) {
		is := is.New(t)
		var hints []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, h.Get("Link")))
			return nil
		}})
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/hints", nil)
		is.NoErr(err)
		resp, err := server.Client().Do(r)
		is.NoErr(err)
		body, err := io.ReadAll(resp.Body)
		is.NoErr(err)
		is.Equal(string(body), "text")
		is.Equal(resp.Trailer.Get("X-Sum"), "7")
		is.Equal(hints, []string{"103</a.css>"})
	})
	t.Run("full duplex", func(t *testing.T) {
		is := is.New(t)
		from, to := io.Pipe()
		r, err := http.NewRequest("POST", server.URL+"/duplex", from)
		is.NoErr(err)
		resp, err := server.Client().Do(r)
		is.NoErr(err)
		for _, said := range []string{"one", "two"} {
			io.WriteString(to, said)
			heard := make([]byte, 3)
			_, err = io.ReadFull(resp.Body, heard)
			is.NoErr(err)
			is.Equal(string(heard), said)
		}
		to.Close()
		_, err = resp.Body.Read(make([]byte, 1))
		is.Equal(err, io.EOF)
	})
	t.Run("hijack", func(t *testing.T) {
		is := is.New(t)
		conn, err := net.Dial("tcp", server.Address)
		is.NoErr(err)
		defer conn.Close()
		io.WriteString(conn, "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
		br := bufio.NewReader(conn)
		resp, err := http.ReadResponse(br, nil)
		is.NoErr(err)
		is.Equal(resp.StatusCode, 101)
		heard := make([]byte, 5)
		_, err = io.ReadFull(br, heard)
		is.NoErr(err)
		is.Equal(string(heard), "hello")
		conn.(*net.TCPConn).CloseWrite()
		_, err = br.ReadByte()
		is.Equal(err, io.EOF) // the end goes through, either way
	})
}

// flushing is a writer that flushes what it writes.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	f.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

func TestHandlerThatPanicsBreaksItsAnswerOffAndIsLogged(t *testing.T) {
	is := is.New(t)
	var log bytes.Buffer
	p, server := behindHandler(t, parachute.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
		}
		panic("out of ideas")
	})
	resp, err := server.Client().Get(server.URL + "/early")
	is.NoErr(err)
	resp.Body.Close()
	is.Equal(resp.StatusCode, http.StatusBadGateway)
	resp, err = server.Client().Get(server.URL + "/late")
	is.NoErr(err)
	_, err = io.ReadAll(resp.Body)
	is.True(errors.Is(err, io.ErrUnexpectedEOF))
	p.Close()
	is.True(strings.Contains(log.String(), "out of ideas"))
}

func TestHandlerHearsThatItsClientHasLeft(t *testing.T) {
	is := is.New(t)
	entered, left := make(chan bool), make(chan error)
	_, server := behindHandler(t, parachute.Options{}, func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done()
		left <- r.Context().Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
	is.NoErr(err)
	go server.Client().Do(r)
	<-entered
	cancel()
	is.Equal(<-left, context.Canceled)
}

func TestHandlerIsDrainedLikeAnyOtherTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		slow := inProcess(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(10 * time.Second):
				io.WriteString(w, "slow")
			case <-r.Context().Done():
			}
		})
		fast := inProcess(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "fast") })
		h := newHouse(t, parachute.Options{Handlers: map[string]http.Handler{"slow": slow, "fast": fast}})
		is.NoErr(h.deploy("web", "handler:slow"))
		answer := make(chan string)
		ask := func() { answer <- h.get("any.test") }
		go ask()
		synctest.Wait()
		began := time.Now()
		is.NoErr(h.deploy("web", "handler:fast"))
		is.Equal(time.Since(began), 10*time.Second) // it waits for what runs
		is.Equal(<-answer, "200 slow")
		is.Equal(h.get("any.test"), "200 fast")

		is.NoErr(h.deploy("web", "handler:slow"))
		go ask()
		synctest.Wait()
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"handler:fast"}, Timeouts: parachute.Timeouts{Drain: -1}}))
		is.True(strings.HasPrefix(<-answer, "504 ")) // or cuts it off
	})
}

func TestHandlerHasToBeThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const want = "target handler:gone: this program has no such handler: put it into Options.Handlers, or name a target as host:port"
		h := newHouse(t, parachute.Options{Handlers: map[string]http.Handler{"app": inProcess(func(http.ResponseWriter, *http.Request) {}), "nil": nil}})
		serving, gone := status("app", 1, "handler:app", "app.test"), status("gone", 2, "handler:gone", "gone.test")
		half := status("half", 3, "handler:app", "half.test")
		half.Rollout = &parachute.Rollout{Targets: []string{"handler:gone"}}
		err := h.Restore([]parachute.Status{serving, gone, half})
		is.True(strings.Contains(err.Error(), "parachute: restore gone: "+want))
		is.True(strings.Contains(err.Error(), "restore half: the service serves without its rollout to handler:gone: "+want))
		var states []string
		for _, s := range h.Services() {
			states = append(states, s.Service+" "+string(s.State))
		}
		is.Equal(states, []string{"app serving", "gone failed", "half serving"})
		is.Equal(h.get("app.test"), "200 ")
		is.True(strings.HasPrefix(h.get("gone.test"), "503 "))

		err = h.deploy("web", "handler:gone")
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.Equal(err.Error(), "parachute: deploy web: "+want)
		is.True(errors.Is(h.deploy("web", "handler:nil"), parachute.ErrInvalid)) // it would be http.DefaultServeMux
		is.True(errors.Is(h.Rollout(t.Context(), "app", parachute.Rollout{Targets: []string{"handler:gone"}}), parachute.ErrInvalid))
		err = h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"handler:app"}, Hosts: []string{"web.test"}, HealthCheck: parachute.HealthCheck{Port: 1}})
		is.True(errors.Is(err, parachute.ErrInvalid))
	})
}

func TestHandlerThatIsUnhealthyIsNotDeployed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{Handlers: map[string]http.Handler{"app": http.NotFoundHandler()}})
		err := h.deploy("web", "handler:app")
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		is.True(strings.Contains(err.Error(), "handler:app did not become healthy in 30s: GET /up answered 404"))
	})
}

func TestCloseWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		returned := false
		h := newHouse(t, parachute.Options{Handlers: map[string]http.Handler{"app": inProcess(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			time.Sleep(time.Second) // to put its things away
			returned = true
		})}})
		is.NoErr(h.deploy("web", "handler:app"))
		answer := make(chan string)
		go func() { answer <- h.get("any.test") }()
		synctest.Wait()
		is.NoErr(h.Close())
		is.True(returned)
		<-answer
	})
}
