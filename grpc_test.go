package parachute_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// message is one of gRPC.
const message = "\x00\x00\x00\x00\x05hello"

// overHTTP2 serves a handler at an address by HTTP/2 without TLS.
func (h *house) overHTTP2(address string, handler http.Handler) {
	h.t.Helper()
	listener, err := h.net.Listen(address)
	if err != nil {
		h.t.Fatal(err)
	}
	server := &http.Server{Handler: handler, Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	h.t.Cleanup(func() {
		server.Close()
		<-served
	})
}

// health answers gRPC health checks with body and trailers, and leaves all else
// to next.
func health(body string, trailers map[string]string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/grpc.health.v1.Health/Check" {
			next(w, r)
			return
		}
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		io.WriteString(w, body)
		for name, value := range trailers {
			w.Header().Set(http.TrailerPrefix+name, value)
		}
	}
}

const serving = "\x00\x00\x00\x00\x02\x08\x01"

var done = map[string]string{"Grpc-Status": "0"}

// A caller calls what a proxy serves at proxy.test:2 by HTTP/2.
type caller struct {
	h      *house
	client *http.Client
}

func (h *house) caller() *caller {
	h.t.Helper()
	h.overHTTP2("proxy.test:2", h.Proxy)
	transport := &http.Transport{
		Protocols:          new(http.Protocols),
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return h.net.Dial(ctx, network, "proxy.test:2")
		},
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	h.t.Cleanup(transport.CloseIdleConnections)
	return &caller{h, &http.Client{Transport: transport}}
}

// A rpc is a gRPC call under way.
type rpc struct {
	*http.Response
	in *io.PipeWriter // messages of the client
}

// call begins a call and returns when its answer has begun.
func (c *caller) call(method, first string) rpc {
	c.h.t.Helper()
	body, in := io.Pipe()
	c.h.t.Cleanup(func() { in.Close() })
	go io.WriteString(in, first)
	r, err := http.NewRequestWithContext(c.h.t.Context(), "POST", "http://app.test"+method, body)
	if err != nil {
		c.h.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	resp, err := c.client.Do(r)
	if err != nil {
		c.h.t.Fatal(err)
	}
	return rpc{resp, in}
}

// unary makes a call of one message, and returns how it ended.
func (c *caller) unary(method string) string { return c.unaryWithin(method, "") }

// unaryWithin is unary for a client that waits no longer than timeout for the end,
// and forgets about it.
func (c *caller) unaryWithin(method, timeout string) string {
	r, err := http.NewRequestWithContext(c.h.t.Context(), "POST", "http://app.test"+method, strings.NewReader(message))
	if err != nil {
		return err.Error()
	}
	r.Header.Set("Content-Type", "application/grpc")
	if timeout != "" {
		r.Header.Set("Grpc-Timeout", timeout)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return err.Error()
	}
	return rpc{Response: resp}.end()
}

// next returns what comes next.
func (c rpc) next() string {
	b := make([]byte, 100)
	n, err := c.Body.Read(b)
	if err != nil {
		return err.Error()
	}
	return string(b[:n])
}

// end reads to the end, and returns the status of HTTP, how many whole messages
// there were, and the status of gRPC with its message.
func (c rpc) end() string {
	defer c.Body.Close()
	body, err := io.ReadAll(c.Body)
	if err != nil {
		return err.Error()
	}
	status := c.Trailer
	if c.Header.Get("Grpc-Status") != "" {
		status = c.Header
	}
	return fmt.Sprintf("%d, %d messages, %s %s", c.StatusCode, len(body)/len(message), status.Get("Grpc-Status"), status.Get("Grpc-Message"))
}

// methods is a gRPC server: Echo gives back what it gets, Tick sends a message
// each second, Slow and SlowAfterHead send one after ten seconds, Large a large one.
// GiveUp and GiveUpAfterHead reset the call after a second.
func methods(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	flush := http.NewResponseController(w).Flush
	wait := func(d time.Duration) {
		select {
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-time.After(d):
		}
	}
	switch r.URL.Path {
	case "/Echo":
		b := make([]byte, 1000)
		for {
			n, err := r.Body.Read(b)
			w.Write(b[:n])
			flush()
			if err == io.EOF {
				break
			} else if err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	case "/Tick":
		for {
			io.WriteString(w, message)
			flush()
			wait(time.Second)
		}
	case "/Large":
		io.WriteString(w, "\x00\x00\x80\x00\x00")
		io.WriteString(w, strings.Repeat("x", 8<<20))
	case "/GiveUpAfterHead":
		flush()
		fallthrough
	case "/GiveUp":
		wait(time.Second)
		panic(http.ErrAbortHandler)
	case "/SlowAfterHead":
		io.Copy(io.Discard, r.Body)
		flush()
		fallthrough
	case "/Slow":
		wait(10 * time.Second)
		io.WriteString(w, message)
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}

// called is a house with a caller, whose service serves methods at one.test.
func called(t *testing.T, o parachute.Options, d parachute.Deployment) (*house, *caller) {
	h := newHouse(t, o)
	h.overHTTP2("one.test:80", health(serving, done, methods))
	h.overHTTP2("two.test:80", health(serving, done, methods))
	c := h.caller()
	d.Service, d.Targets, d.HealthCheck.GRPC = "web", []string{"h2c://one.test:80"}, true
	if err := h.Deploy(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return h, c
}

// next is the deployment that takes the place of called's.
func next(timeouts parachute.Timeouts) parachute.Deployment {
	return parachute.Deployment{
		Service: "web", Targets: []string{"h2c://two.test:80"}, Timeouts: timeouts,
		HealthCheck: parachute.HealthCheck{GRPC: true},
	}
}

func TestGRPCIsNeverHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		_, c := called(t, parachute.Options{}, parachute.Deployment{
			Buffer: parachute.Buffer{Requests: true, Responses: true}, MaxRequestBody: 35,
		})
		call := c.call("/Echo", message)
		is.Equal(call.next(), message) // while the request goes on
		io.WriteString(call.in, message)
		is.Equal(call.next(), message)
		io.WriteString(call.in, message)
		is.Equal(call.next(), message)
		go io.WriteString(call.in, message) // which is too much
		is.Equal(call.end(), "200, 0 messages, 8 parachute: 413 Request Entity Too Large (too large)")
	})
}

func TestCallsHaveNoTargetTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		_, c := called(t, parachute.Options{}, parachute.Deployment{Timeouts: parachute.Timeouts{Response: time.Second}})
		is.Equal(c.unary("/Slow"), "200, 1 messages, 0 ")
	})
}

func TestStreamingCallsAreDrainedByTheStreamsClock(t *testing.T) {
	for name, test := range map[string]struct {
		stream   time.Duration
		min, max time.Duration
	}{
		"by default":   {0, 0, time.Second},
		"in a minute":  {time.Minute, 54 * time.Second, time.Minute},
		"at the start": {-1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h, c := called(t, parachute.Options{}, parachute.Deployment{})
				ticks, quiet := c.call("/Tick", ""), c.call("/Echo", message)
				is.Equal(quiet.next(), message) // and then none for long
				time.Sleep(time.Minute)
				is.Equal(h.Services()[0].Live.Targets[0].Streams, int64(2))

				begin := time.Now()
				is.NoErr(h.Deploy(t.Context(), next(parachute.Timeouts{Stream: test.stream})))
				took := time.Since(begin)
				is.True(test.min <= took && took <= test.max)
				is.Equal(quiet.end(), "200, 0 messages, 14 parachute: the call was ended (cut)")
				is.True(strings.HasSuffix(ticks.end(), "messages, 14 parachute: the call was ended (cut)"))
				is.Equal(c.unary("/Echo"), "200, 1 messages, 0 ") // clients that try again are served
			})
		})
	}
}

func TestUnaryCallsAreDrainedAsRequestsHoweverEarlyTheirHeadComes(t *testing.T) {
	for _, stream := range []time.Duration{0, -1, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			h, c := called(t, parachute.Options{}, parachute.Deployment{})
			ended := make(chan string, 2)
			for _, method := range []string{"/Slow", "/SlowAfterHead"} {
				go func() { ended <- c.unary(method) }()
			}
			time.Sleep(5 * time.Second)
			is.NoErr(h.Deploy(t.Context(), next(parachute.Timeouts{Stream: stream})))
			is.Equal(<-ended, "200, 1 messages, 0 ")
			is.Equal(<-ended, "200, 1 messages, 0 ")
		})
	}
}

func TestCallThatIsLateInADrainIsUnavailable(t *testing.T) {
	for method, want := range map[string]string{
		"/Slow":          "200, 0 messages, 14 parachute: 504 Gateway Timeout (cut)", // its head had not come
		"/SlowAfterHead": "200, 0 messages, 14 parachute: 504 Gateway Timeout (cut)",
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			seen := make(chan parachute.Outcome, 1)
			h, c := called(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { seen <- o }}, parachute.Deployment{})
			ended := make(chan string, 1)
			go func() { ended <- c.unary(method) }()
			synctest.Wait()
			is.NoErr(h.Deploy(t.Context(), next(parachute.Timeouts{Drain: time.Second})))
			is.Equal(<-ended, want)
			o := <-seen
			is.Equal(o.Reason, "cut")
			is.True(o.Err != nil)
		})
	}
}

// Servers reset a call whose time is over, and a client that waits a moment longer for
// it must not take that for an invitation to try again.
func TestCallWhoseTargetGivesItUpAtItsDeadlineHasExceededThat(t *testing.T) {
	const exceeded = "200, 0 messages, 4 parachute: the deadline of the call has passed"
	for name, tt := range map[string]struct{ method, timeout, want, reason string }{
		"before its head":         {"/GiveUp", "1S", exceeded, "deadline"},
		"after its head":          {"/GiveUpAfterHead", "1000m", exceeded, "deadline"},
		"late":                    {"/GiveUp", "900000u", exceeded, "deadline"},
		"before the deadline":     {"/GiveUp", "2S", "200, 0 messages, 14 parachute: 502 Bad Gateway (broken)", "broken"},
		"where there is none":     {"/GiveUp", "", "200, 0 messages, 14 parachute: 502 Bad Gateway (broken)", "broken"},
		"where it makes no sense": {"/GiveUpAfterHead", "soon", "200, 0 messages, 14 parachute: 502 Bad Gateway (broken)", "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				seen := make(chan parachute.Outcome, 1)
				_, c := called(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { seen <- o }}, parachute.Deployment{})
				is.Equal(c.unaryWithin(tt.method, tt.timeout), tt.want)
				o := <-seen
				is.Equal(o.Reason, tt.reason)
				is.True(o.Err != nil)
			})
		})
	}
}

// It keeps the target from sending the end of its message.
func TestUnaryCallWhoseClientTakesNothingIsCutWhenItIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, c := called(t, parachute.Options{}, parachute.Deployment{})
		call := c.call("/Large", message)
		defer call.Body.Close()
		call.in.Close() // or it would be no unary call
		synctest.Wait()
		begin := time.Now()
		is.NoErr(h.Deploy(t.Context(), next(parachute.Timeouts{Drain: time.Minute})))
		is.Equal(time.Since(begin), time.Minute) // a request, which had its time, and was gone at once then
		_, err := io.ReadAll(call.Body)
		is.True(err != nil)
		is.Equal(h.net.Conns("one.test:80"), 0)
	})
}

func TestGRPCClientsAreAnsweredInTheirOwnTerms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var last parachute.Outcome
		h, c := called(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { last = o }}, parachute.Deployment{
			MaxRequestBody: 5, Timeouts: parachute.Timeouts{Hold: -1},
		})
		is.Equal(c.unary("/Echo"), "200, 0 messages, 8 parachute: 413 Request Entity Too Large (too large)")
		is.Equal(last.Status, 413) // in logs and metrics

		is.NoErr(h.Stop(t.Context(), "web", parachute.Stop{Message: "Back at 100 %"}))
		is.Equal(c.unary("/Echo"), "200, 0 messages, 14 parachute: 503 Service Unavailable (stopped): Back at 100 %25")
		is.Equal(last.Status, 503)
		is.Equal(c.unary("/grpc.health.v1.Health/Check"), "200, 0 messages, 0 ") // of somebody in front
		call := c.call("/grpc.health.v1.Health/Check", "\x00\x00\x00\x00\x00")
		is.Equal(call.next(), serving)

		is.NoErr(h.Remove(t.Context(), "web"))
		is.Equal(c.unary("/Echo"), "200, 0 messages, 12 parachute: 404 Not Found (no service)")

		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"h2c://nobody.test:80"}, Force: true, Timeouts: parachute.Timeouts{Hold: -1},
		}))
		is.Equal(c.unary("/Echo"), "200, 0 messages, 14 parachute: 502 Bad Gateway (dial)")
		is.Equal(last.Status, 502)
	})
}

func TestHTTP2TargetsHaveNoWebSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var last parachute.Outcome
		h, _ := called(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { last = o }}, parachute.Deployment{})
		resp, _ := h.answer("GET", "/chat", "", "Connection", "Upgrade", "Upgrade", "websocket")
		is.Equal(resp.StatusCode, 502)
		is.True(strings.Contains(last.Err.Error(), "websocket is asked for, which HTTP/2 has no upgrade to"))
	})
}

func TestGRPCHealthCheckTellsWhatIsWrong(t *testing.T) {
	noGRPC := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<p>Hello") }
	for name, test := range map[string]struct {
		app    http.HandlerFunc
		answer string
		cause  parachute.Cause
		hint   string
	}{
		"not serving":     {health("\x00\x00\x00\x00\x02\x08\x02", done, nil), "NOT_SERVING", parachute.CauseNotServing, "not ready"},
		"unknown":         {health("\x00\x00\x00\x00\x00", done, nil), "UNKNOWN", parachute.CauseNotServing, "not ready"},
		"unimplemented":   {health("", map[string]string{"Grpc-Status": "12", "Grpc-Message": "unknown service"}, nil), "UNIMPLEMENTED: unknown service", parachute.CauseNoHealth, "register the health service"},
		"unknown service": {health("", map[string]string{"Grpc-Status": "5"}, nil), "NOT_FOUND", parachute.CauseUnknownService, "no health of that service"},
		"internal":        {health("", map[string]string{"Grpc-Status": "13"}, nil), "INTERNAL", parachute.CauseServerError, "look at its log"},
		"unauthenticated": {health("", map[string]string{"Grpc-Status": "16"}, nil), "UNAUTHENTICATED", parachute.CauseUnauthorized, "HealthCheck.Headers"},
		"nonsense":        {health("x", done, nil), "the answer is no HealthCheckResponse", parachute.CauseNotGRPC, "does not speak gRPC"},
		"no trailers":     {health(serving, nil, nil), "no grpc-status", parachute.CauseNotGRPC, "does not speak gRPC"},
		"no gRPC":         {noGRPC, `200 "<p>Hello"`, parachute.CauseNotGRPC, "does not speak gRPC"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.overHTTP2("app.test:80", test.app)
				err := h.Deploy(t.Context(), parachute.Deployment{
					Service: "web", Targets: []string{"h2c://app.test:80"}, Timeouts: parachute.Timeouts{Deploy: time.Second},
					HealthCheck: parachute.HealthCheck{GRPC: true},
				})
				unhealthy := new(parachute.UnhealthyError)
				is.True(errors.As(err, &unhealthy))
				is.Equal(unhealthy.Targets[0].Last.Cause, test.cause)
				is.True(strings.Contains(err.Error(), "POST /grpc.health.v1.Health/Check answered "+test.answer+" ("))
				is.True(strings.Contains(fmt.Sprintf("%+v", err), "\n  POST http://app.test:80/grpc.health.v1.Health/Check  Host: app.test:80 "))
				is.True(strings.Contains(unhealthy.Hint(), test.hint))
			})
		})
	}
}

func TestGRPCHealthCheckOfWhatSpeaksOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80") // HTTP/1
		h.overHTTP2("two.test:80", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		for target, cause := range map[string]parachute.Cause{
			"h2c://two.test:80":   parachute.CauseTimeout,
			"h2c://one.test:8":    parachute.CauseRefused,
			"https://one.test:80": parachute.CauseSpeaksPlain,
		} {
			err := h.Deploy(t.Context(), parachute.Deployment{
				Service: "web", Targets: []string{target}, Timeouts: parachute.Timeouts{Deploy: 10 * time.Second},
				HealthCheck: parachute.HealthCheck{GRPC: true},
			})
			unhealthy := new(parachute.UnhealthyError)
			is.True(errors.As(err, &unhealthy))
			if got := unhealthy.Targets[0].Last.Cause; got != cause {
				t.Errorf("%s: %s (%v)", target, got, err)
			}
		}

		// What HTTP/1 says to the preface may be lost with the connection.
		err := h.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"h2c://one.test:80"}, Timeouts: parachute.Timeouts{Deploy: time.Second},
			HealthCheck: parachute.HealthCheck{GRPC: true},
		})
		unhealthy := new(parachute.UnhealthyError)
		is.True(errors.As(err, &unhealthy))
		got := unhealthy.Targets[0].Last.Cause
		is.True(got == parachute.CauseNotGRPC || got == parachute.CauseNoAnswer)
		is.True(strings.Contains(unhealthy.Hint(), "port for"))
	})
}

func TestGRPCHealthCheckSaysWhatItWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var asked *http.Request
		var body []byte
		h := newHouse(t, parachute.Options{UserAgent: "probe"})
		h.overHTTP2("app.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = r
			body, _ = io.ReadAll(r.Body)
			health(serving, done, nil)(w, r)
		}))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"h2c://app.test:80"},
			HealthCheck: parachute.HealthCheck{
				GRPC: true, GRPCService: "web.v1.Web", Host: "grpc.test", Headers: []string{"X-Probe: yes"}, Timeout: 2500 * time.Millisecond,
			},
		}))
		is.Equal(string(body), "\x00\x00\x00\x00\x0c\x0a\x0aweb.v1.Web")
		is.Equal(asked.Host, "grpc.test")
		is.Equal(len(asked.Header["X-Parachute-Hop"]), 1) // by which the proxy would know its own
		delete(asked.Header, "X-Parachute-Hop")
		is.Equal(asked.Header, http.Header{
			"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Grpc-Timeout": {"2500m"},
			"User-Agent": {"probe"}, "X-Probe": {"yes"}, "Content-Length": {"17"},
		})
		probe := h.Services()[0].Live.Targets[0].Probe
		is.Equal(probe.GRPC, "SERVING")
		is.Equal(probe.String(), "POST /grpc.health.v1.Health/Check answered SERVING")
	})
}

// Over TLS, HTTP/2 is for calls alone.
func TestTargetsThatSpeakTLSAreCalledByHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		certificates := []tls.Certificate{proxytest.NewCA().Issue("app.test", "plain.test")}
		h.net.ServeTLS(t, "app.test:443", &tls.Config{Certificates: certificates, NextProtos: []string{"h2", "http/1.1"}}, health(serving, done, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Proto", r.Proto)
			methods(w, r)
		}))
		h.net.ServeTLS(t, "plain.test:443", &tls.Config{Certificates: certificates, NextProtos: []string{"http/1.1"}}, proto)
		h.net.ServeTLS(t, "silent.test:443", &tls.Config{Certificates: certificates}, proto) // about protocols
		deploy := func(target string, insecure bool) error {
			return h.Deploy(t.Context(), parachute.Deployment{
				Service: "web", Targets: []string{target}, Timeouts: parachute.Timeouts{Deploy: time.Second, Drain: time.Second},
				TargetTLS: parachute.TargetTLS{Insecure: insecure}, HealthCheck: parachute.HealthCheck{GRPC: true},
			})
		}
		is.NoErr(deploy("https://app.test:443", true))
		c := h.caller()
		call := c.call("/Echo", message)
		is.Equal(call.Header.Get("X-Proto"), "HTTP/2.0")
		is.Equal(call.next(), message)
		call.in.Close()
		is.Equal(call.end(), "200, 0 messages, 0 ")
		resp, _ := h.answer("POST", "/Echo", "hello")
		is.Equal(resp.Header.Get("X-Proto"), "HTTP/1.1")
		late := make(chan string, 1)
		go func() { late <- c.unary("/Slow") }()
		synctest.Wait()
		is.NoErr(deploy("https://app.test:443", true))
		is.Equal(<-late, "200, 0 messages, 14 parachute: 504 Gateway Timeout (cut)")

		for target, cause := range map[string]parachute.Cause{
			"https://plain.test:443":  parachute.CauseNotGRPC,
			"https://silent.test:443": parachute.CauseNotGRPC,
			"https://app.test:443":    parachute.CauseCertificate,
		} {
			err := deploy(target, cause == parachute.CauseNotGRPC)
			unhealthy := new(parachute.UnhealthyError)
			is.True(errors.As(err, &unhealthy))
			is.Equal(unhealthy.Targets[0].Last.Cause, cause) // of that target
			if cause == parachute.CauseNotGRPC {
				is.True(strings.Contains(err.Error(), "the target does not speak HTTP/2 over TLS"))
			}
		}
	})
}

func TestGRPCHealthChecksThatCannotBeAreRefused(t *testing.T) {
	is := is.New(t)
	p := parachute.New(parachute.Options{})
	defer p.Close()
	for want, d := range map[string]parachute.Deployment{
		"a gRPC health check takes HTTP/2: name it h2c://":  {Targets: []string{"app.test:80"}, HealthCheck: parachute.HealthCheck{GRPC: true}},
		"target unix:/run/app.sock: a gRPC health check":    {Targets: []string{"unix:/run/app.sock"}, HealthCheck: parachute.HealthCheck{GRPC: true}},
		`path "/up" and status ""`:                          {Targets: []string{"h2c://app.test:80"}, HealthCheck: parachute.HealthCheck{GRPC: true, Path: "/up"}},
		`path "" and status "200": a gRPC health check has`: {Targets: []string{"h2c://app.test:80"}, HealthCheck: parachute.HealthCheck{GRPC: true, Status: "200"}},
		"ask for a gRPC health check, too":                  {Targets: []string{"h2c://app.test:80"}, HealthCheck: parachute.HealthCheck{GRPCService: "a.B"}},
		"1024 bytes of UTF-8":                               {Targets: []string{"h2c://app.test:80"}, HealthCheck: parachute.HealthCheck{GRPC: true, GRPCService: "\xff"}},
	} {
		d.Service = "web"
		err := p.Deploy(t.Context(), d)
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.True(strings.Contains(err.Error(), want)) // want
	}
}

func TestServiceWithAGRPCHealthCheckIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h, _ := called(t, parachute.Options{}, parachute.Deployment{})
		restored := parachute.New(parachute.Options{Dial: h.net.Dial})
		defer restored.Close()
		is.NoErr(restored.Restore(h.Services()))
		synctest.Wait()
		target := restored.Services()[0].Live.Targets[0]
		is.Equal(target.Health, parachute.HealthHealthy)
		is.Equal(target.Probe.GRPC, "SERVING")
	})
}
