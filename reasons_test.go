package parachute_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/bcrypt"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// misbehaves serves an app that does with each request what its path says, and
// closes the connection.
func (h *house) misbehaves(address string) *proxytest.Script {
	return h.net.Script(h.t, address, func(conn net.Conn, _ int) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		answer := func(head string) { io.WriteString(conn, "HTTP/1.1 "+head+"Connection: close\r\n\r\n") }
		wait := func() { io.Copy(io.Discard, conn) }
		switch r.URL.Path {
		case "/500":
			answer("500 Oh No\r\nContent-Length: 0\r\n")
		case "/close":
		case "/garbage":
			io.WriteString(conn, "what?\r\n\r\n")
		case "/silent":
			wait()
		case "/half":
			answer("200 OK\r\nContent-Length: 10\r\n")
			io.WriteString(conn, "half")
		case "/slow":
			answer("200 OK\r\nTransfer-Encoding: chunked\r\n")
			io.WriteString(conn, "4\r\nhalf\r\n")
			wait()
		case "/large":
			answer("200 OK\r\nContent-Length: 100\r\n")
			io.WriteString(conn, strings.Repeat("x", 100))
		case "/larger":
			answer("200 OK\r\n")
			io.WriteString(conn, strings.Repeat("x", 100))
		case "/events", "/lost-events":
			answer("200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n")
			io.WriteString(conn, "9\r\ndata: 1\n\n\r\n")
			if r.URL.Path == "/events" {
				wait()
			}
		case "/switch", "/lost-tunnel":
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			if r.URL.Path == "/switch" {
				wait()
				return
			}
			time.Sleep(time.Second) // what comes in the meantime is not read, so that the other end is reset
		default:
			io.Copy(io.Discard, r.Body)
			answer("200 OK\r\nContent-Length: 2\r\n")
			io.WriteString(conn, "ok")
		}
	})
}

// An end is one way in which a request can end.
type end struct {
	options    func(*parachute.Options)
	deployment parachute.Deployment
	before     func(h *house, app *proxytest.Script) error // is called once the service is there
	request    string                                      // as the client sends it
	then       func(h *house, client net.Conn)

	answer string // the head that the client gets begins with it; "": it gets none
	part   string // X-Parachute-Error
	status int    // and what follows, as Observe hears it
	reason string
	sent   bool // a target had the request, so that it counts there
	error  bool // as an error
}

const (
	cutAtOnce   = -1
	get, got    = "GET / HTTP/1.1\r\nHost: any.test\r\n\r\n", "HTTP/1.1 "
	upload      = "POST /echo HTTP/1.1\r\nHost: any.test\r\n"
	asCall      = "Content-Type: application/grpc\r\n" // which is answered in terms of gRPC, but is none
	switchTo    = "Connection: Upgrade\r\nUpgrade: echo\r\n"
	beginning   = "Content-Length: 100\r\n\r\nfoo"
	largeUpload = "Content-Length: 100000\r\n\r\nfoo"
	chunked     = "Transfer-Encoding: chunked\r\n\r\n"
)

func getting(path string, header ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: any.test\r\n" + strings.Join(header, "") + "\r\n"
}

// leave is what a client does that does not wait any longer.
func leave(_ *house, client net.Conn) {
	client.Close()
	time.Sleep(20 * time.Millisecond) // as long as an exchange may take to notice
}

// goOn lets d pass, in which a client sends nothing.
func goOn(d time.Duration) func(*house, net.Conn) {
	return func(*house, net.Conn) { time.Sleep(d) }
}

// drain cuts off at once what is under way.
func drain(h *house, _ net.Conn) {
	if err := h.Pause(h.t.Context(), "web", parachute.Pause{Drain: cutAtOnce}); err != nil {
		h.t.Error(err)
	}
}

func closeProxy(h *house, _ net.Conn) { h.Close() }

func pause(max time.Duration) func(*house, *proxytest.Script) error {
	return func(h *house, _ *proxytest.Script) error {
		return h.Pause(h.t.Context(), "web", parachute.Pause{Max: max})
	}
}

func stop(h *house, _ *proxytest.Script) error { return h.Stop(h.t.Context(), "web", parachute.Stop{}) }

// die ends the app.
func die(_ *house, app *proxytest.Script) error {
	app.Stop()
	return nil
}

// ends are all the ways in which a request can end, but for those that need a
// certificate.
func ends(dir string) map[string]end {
	limited := parachute.Deployment{MaxResponseBody: 10, MaxRequestBody: 10}
	buffering := parachute.Deployment{Buffer: parachute.Buffer{Requests: true, Responses: true, Memory: -1}, MaxRequestBody: 1000}
	impatient := parachute.Deployment{Timeouts: parachute.Timeouts{Hold: -1, Response: time.Second}}
	noSpool := func(o *parachute.Options) { o.Spool = parachute.Spool{Dir: dir, MaxSpool: 1} }
	spool := func(o *parachute.Options) { o.Spool = parachute.Spool{Dir: dir} }
	nobodyWaits := func(o *parachute.Options) { o.MaxHeld = -1 }
	notFound := func(f http.HandlerFunc) func(*parachute.Options) {
		return func(o *parachute.Options) { o.NotFound = f }
	}
	stranger := parachute.Deployment{Hosts: []string{"other.test"}}
	return map[string]end{
		"answered":                       {request: get, answer: got + "200", status: 200, sent: true},
		"answered with an error":         {request: getting("/500"), answer: got + "500", status: 500, sent: true, error: true},
		"no connection":                  {deployment: impatient, before: die, request: get, answer: got + "502", part: "dial", status: 502, reason: "dial", sent: true, error: true},
		"target closes at once":          {deployment: impatient, request: getting("/close"), answer: got + "502", status: 502, reason: "broken", sent: true, error: true},
		"target closes during answer":    {request: getting("/half"), answer: got + "200", status: 200, reason: "broken", sent: true, error: true},
		"target closes stream":           {request: getting("/lost-events"), answer: got + "200", status: 200, reason: "broken", sent: true, error: true},
		"target closes tunnel":           {request: getting("/lost-tunnel", switchTo) + "unread", then: goOn(2 * time.Second), answer: got + "101", status: 101, reason: "broken", sent: true, error: true},
		"no HTTP":                        {request: getting("/garbage"), answer: got + "502", status: 502, reason: "malformed", sent: true, error: true},
		"101 that nobody asked for":      {request: getting("/switch"), answer: got + "502", status: 502, reason: "target", sent: true, error: true},
		"target is silent":               {deployment: impatient, request: getting("/silent"), then: goOn(time.Second), answer: got + "504", part: "timeout", status: 504, reason: "timeout", sent: true, error: true},
		"answer is said to be too large": {deployment: limited, request: getting("/large"), answer: got + "502", part: "too-large", status: 502, reason: "too large", sent: true, error: true},
		"answer turns out too large":     {deployment: limited, request: getting("/larger"), answer: got + "200", status: 200, reason: "too large", sent: true, error: true},
		"answer has no room":             {options: noSpool, deployment: buffering, request: getting("/large"), answer: got + "200", status: 200, sent: true},

		"cut by a drain":               {request: getting("/silent"), then: drain, answer: got + "504", part: "draining", status: 504, reason: "cut", sent: true, error: true},
		"cut by a drain during answer": {request: getting("/slow"), then: drain, answer: got + "200", status: 200, reason: "cut", sent: true, error: true},
		"cut by Close":                 {request: getting("/silent"), then: closeProxy, answer: got + "504", part: "draining", status: 504, reason: "cut", sent: true, error: true},
		"stream closed by a drain":     {request: getting("/events"), then: drain, answer: got + "200", status: 200, reason: "cut", sent: true},
		"tunnel closed by a drain":     {request: getting("/switch", switchTo), then: drain, answer: got + "101", status: 101, reason: "cut", sent: true},
		"stream closed by Close":       {request: getting("/events"), then: closeProxy, answer: got + "200", status: 200, reason: "cut", sent: true},
		"tunnel closed by Close":       {request: getting("/switch", switchTo), then: closeProxy, answer: got + "101", status: 101, reason: "cut", sent: true},

		"client leaves before answer": {request: getting("/silent"), then: leave, status: 499, reason: "gone", sent: true},
		"client leaves during answer": {request: getting("/slow"), then: leave, answer: got + "200", status: 200, reason: "gone", sent: true},
		"client leaves stream":        {request: getting("/events"), then: leave, answer: got + "200", status: 200, reason: "gone", sent: true},
		"client leaves tunnel":        {request: getting("/switch", switchTo), then: leave, answer: got + "101", status: 101, sent: true},
		"client leaves small upload":  {request: upload + beginning, then: leave, status: 499, reason: "gone", sent: true},
		"client leaves large upload":  {request: upload + largeUpload, then: leave, status: 499, reason: "gone", sent: true},
		"client leaves chunks":        {request: upload + chunked + "3\r\nfoo\r\n", then: leave, status: 499, reason: "gone", sent: true},
		"client leaves buffered":      {options: spool, deployment: buffering, request: upload + beginning, then: leave, status: 499, reason: "gone"},
		"client leaves paused":        {before: pause(time.Minute), request: get, then: leave, status: 499, reason: "gone"},
		"client leaves held":          {before: die, request: get, then: leave, status: 499, reason: "gone", sent: true},
		"client stalls small upload":  {request: upload + beginning, then: goOn(time.Minute), answer: got + "408", status: 408, reason: "client", sent: true},
		"client stalls large upload":  {request: upload + largeUpload, then: goOn(time.Minute), answer: got + "408", status: 408, reason: "client", sent: true},
		"client stalls buffered":      {options: spool, deployment: buffering, request: upload + beginning, then: goOn(time.Minute), answer: got + "408", status: 408, reason: "client"},
		"client stalls would-be call": {request: upload + asCall + largeUpload, then: goOn(time.Minute), answer: got + "408", status: 408, reason: "client", sent: true},
		"client stalls buffered call": {options: spool, deployment: buffering, request: upload + asCall + beginning, then: goOn(time.Minute), answer: got + "408", status: 408, reason: "client"},
		"chunk that is none":          {request: upload + chunked + "what?\r\n", answer: got + "400", status: 400, reason: "client", sent: true},
		"buffered chunk that is none": {options: spool, deployment: buffering, request: upload + chunked + "what?\r\n", answer: got + "400", status: 400, reason: "client body"},
		"request is said to be large": {deployment: limited, request: upload + beginning, answer: got + "413", part: "too-large", status: 413, reason: "too large"},
		"request turns out too large": {deployment: limited, request: upload + chunked + "b\r\nhello world\r\n", answer: got + "413", part: "too-large", status: 413, reason: "too large", sent: true},
		"buffered turns out too large": {options: spool, deployment: parachute.Deployment{Buffer: buffering.Buffer, MaxRequestBody: 10},
			request: upload + chunked + "b\r\nhello world\r\n", answer: got + "413", part: "too-large", status: 413, reason: "too large"},
		"request has no room": {options: noSpool, deployment: buffering, request: upload + chunked + "b\r\nhello world\r\n", answer: got + "503", status: 503, reason: "spool"},

		"paused for too long": {before: pause(time.Second), request: get, then: goOn(time.Second), answer: got + "504", part: "stopped", status: 504, reason: "paused"},
		"too many wait":       {options: nobodyWaits, before: pause(time.Second), request: get, answer: got + "503", part: "stopped", status: 503, reason: "paused"},
		"closed while paused": {before: pause(time.Minute), request: get, then: closeProxy, answer: got + "503", part: "draining", status: 503, reason: "closed"},
		"closed while held":   {before: die, request: get, then: closeProxy, answer: got + "503", part: "draining", status: 503, reason: "closed", sent: true, error: true},
		"stopped":             {before: stop, request: get, answer: got + "503", part: "stopped", status: 503, reason: "stopped"},
		"halted":              {before: stop, request: getting("/up"), answer: got + "200", status: 200, reason: "halted"},
		"closed":              {before: func(h *house, _ *proxytest.Script) error { return h.Close() }, request: get, answer: got + "503", part: "draining", status: 503, reason: "closed"},

		"nobody's":             {deployment: stranger, request: get, answer: got + "404", part: "no-route", status: 404, reason: "no service"},
		"nobody's, handled":    {options: notFound(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }), deployment: stranger, request: get, answer: got + "410", status: 410, reason: "no service"},
		"nobody's, by Write":   {options: notFound(hello), deployment: stranger, request: get, answer: got + "200", status: 200, reason: "no service"},
		"nobody's, silently":   {options: notFound(func(http.ResponseWriter, *http.Request) {}), deployment: stranger, request: get, answer: got + "200", status: 200, reason: "no service"},
		"panic":                {options: notFound(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), deployment: stranger, request: get, status: 0, reason: "panic"},
		"panic during answer":  {options: notFound(panicHalfWay), deployment: stranger, request: get, answer: got + "200", status: 200, reason: "panic"},
		"not allowed in":       {deployment: parachute.Deployment{Access: parachute.Access{Deny: []string{"127.0.0.1"}}}, request: get, answer: got + "403", status: 403, reason: "denied"},
		"no password":          {deployment: parachute.Deployment{Access: parachute.Access{BasicAuthFile: filepath.Join(dir, "htpasswd")}}, request: get, answer: got + "401", status: 401, reason: "unauthorized"},
		"CONNECT":              {request: "CONNECT any.test:443 HTTP/1.1\r\nHost: any.test:443\r\n\r\n", answer: got + "405", status: 405, reason: "method"},
		"target as nobody has": {request: getting("/a#b"), answer: got + "400", status: 400, reason: "request"},
		"redirected GET":       {deployment: parachute.Deployment{Redirects: []parachute.Redirect{{From: "/", To: "/x"}}}, request: get, answer: got + "301", status: 301, reason: "redirect"},
		"redirected POST":      {deployment: parachute.Deployment{Redirects: []parachute.Redirect{{From: "/echo", To: "/x"}}}, request: upload + "\r\n", answer: got + "308", status: 308, reason: "redirect"},
	}
}

func panicHalfWay(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "hel")
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func TestEveryEndOfARequestIsTold(t *testing.T) {
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "htpasswd"), fmt.Appendf(nil, "ann:%s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range ends(dir) {
		t.Run(name, func(t *testing.T) {
			if name == "target as nobody has" && proxytest.HasHTTP1() {
				t.Skip("does not reach the proxy")
			}
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				outcomes := make(chan parachute.Outcome, 1)
				o := parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { outcomes <- o }}
				if tt.options != nil {
					tt.options(&o)
				}
				h := newHouse(t, o)
				app := h.misbehaves("web.test:80")
				d := tt.deployment
				d.Service, d.Targets, d.Force = "web", []string{"web.test:80"}, true
				d.HealthCheck.Interval = time.Hour
				is.NoErr(h.Deploy(t.Context(), d))
				if tt.before != nil {
					is.NoErr(tt.before(h, app))
				}
				client, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
				is.NoErr(err)
				defer client.Close()
				go io.WriteString(client, tt.request)
				head := make(chan string, 1)
				go func() {
					answer, _ := proxytest.ReadHead(client)
					head <- answer
				}()
				synctest.Wait()
				if tt.then != nil {
					tt.then(h, client)
				}
				synctest.Wait()
				if len(outcomes) == 0 {
					time.Sleep(time.Second) // some servers take as long to notice that a client leaves
					synctest.Wait()
				}
				is.Equal(len(outcomes), 1) // it has ended
				outcome := <-outcomes
				if tt.answer == "" {
					client.Close() // it may be one that does not want to know
				}
				answer := <-head
				is.True(strings.HasPrefix(answer, tt.answer))           // what the client gets
				is.Equal(answer == "", tt.answer == "")                 // and nothing where that is nothing
				is.Equal(fieldOf(answer, "X-Parachute-Error"), tt.part) // the part that answers
				want := ""
				if strings.HasPrefix(tt.answer, got+"503") {
					want = "5"
				}
				is.Equal(fieldOf(answer, "Retry-After"), want)
				is.Equal(outcome.Status, tt.status)
				is.Equal(outcome.Reason, tt.reason)
				is.Equal(outcome.Target != "", tt.sent)
				is.Equal(outcome.Err != nil && tt.reason == "", false) // what went wrong has a reason
				if services := h.Services(); tt.sent && len(services) == 1 {
					traffic := services[0].Live.Targets[0].Traffic
					is.True(traffic.Rate > 0) // it is counted
					is.Equal(traffic.ErrorRate == 1, tt.error)
				}
			})
		})
	}
}

// fieldOf returns the value of a field in a head.
func fieldOf(head, name string) string {
	for line := range strings.Lines(head) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// served returns the outcome of a request that is served without a network in
// front, and what was answered.
func served(t *testing.T, h *house, outcomes <-chan parachute.Outcome, r *http.Request) (parachute.Outcome, *httptest.ResponseRecorder) {
	t.Helper()
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if e := recover(); e != http.ErrAbortHandler {
				t.Error("ServeHTTP ended with", e)
			}
		}()
		h.ServeHTTP(w, r)
	}()
	return <-outcomes, w
}

func TestNothingIsSaidOnAConnectionForAChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		outcomes := make(chan parachute.Outcome, 1)
		h := newHouse(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { outcomes <- o }})
		r := httptest.NewRequest("GET", "https://any.test/", nil)
		r.TLS = &tls.ConnectionState{NegotiatedProtocol: acme.ALPNProto, ServerName: "any.test"}
		o, w := served(t, h, outcomes, r)
		is.Equal(o.Reason, "challenge")
		is.Equal(o.Status, 421) // a client's error, that no alert counts
		is.Equal(w.Body.Len(), 0)
	})
}

func TestClientThatLeavesBeforeATargetIsChosenIs499(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, "ann:%s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, access := range map[string]parachute.Access{
		"while its password is checked":    {BasicAuthFile: file},
		"while the first probe is awaited": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				outcomes := make(chan parachute.Outcome, 1)
				h := newHouse(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { outcomes <- o }})
				h.net.Blackhole("web.test:80")
				is.NoErr(h.Restore([]parachute.Status{{Service: "web", Generation: 1,
					Deployment: parachute.Deployment{Service: "web", Targets: []string{"web.test:80"}, Access: access}}}))
				ctx, leave := context.WithCancel(t.Context())
				r := httptest.NewRequestWithContext(ctx, "GET", "http://any.test/", nil)
				r.SetBasicAuth("ann", "secret")
				time.AfterFunc(time.Millisecond, leave)
				if access.BasicAuthFile != "" { // it is checked in no time
					leave()
				}
				o, w := served(t, h, outcomes, r)
				is.Equal(o.Reason, "gone")
				is.Equal(o.Status, 499)
				is.Equal(o.Target, "")
				is.Equal(w.Body.Len(), 0) // nobody is there to be answered
			})
		})
	}
}

// A client of HTTP/2 leaves by a reset of its stream, or with its connection.
func TestUploadOverHTTP2WhoseClientLeavesIs499(t *testing.T) {
	for name, leave := range map[string]func(cancel func(), conn net.Conn){
		"a stream":     func(cancel func(), _ net.Conn) { cancel() },
		"a connection": func(_ func(), conn net.Conn) { conn.Close() },
	} {
		for mode, d := range map[string]parachute.Deployment{
			"passed on": {}, "buffered": {Buffer: parachute.Buffer{Requests: true}},
		} {
			t.Run(name+", "+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					outcomes := make(chan parachute.Outcome, 1)
					h := newHouse(t, parachute.Options{Observe: func(_ *http.Request, o parachute.Outcome) { outcomes <- o }})
					is.NoErr(h.with(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }, d))
					conns := make(chan net.Conn, 1)
					client := h.serveHTTP2(conns)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					in, out := io.Pipe()
					r, err := http.NewRequestWithContext(ctx, "POST", "http://any.test/", in)
					is.NoErr(err)
					done := make(chan struct{})
					go func() {
						defer close(done)
						if resp, err := client.Do(r); err == nil {
							resp.Body.Close()
						}
					}()
					io.WriteString(out, "foo")
					synctest.Wait()
					leave(cancel, <-conns)
					o := <-outcomes
					is.Equal(o.Status, 499)
					is.Equal(o.Reason, "gone")
					out.Close()
					<-done
				})
			})
		}
	}
}

// serveHTTP2 has the Proxy serve HTTP/2 as well, and returns a client for it,
// whose connections it sends.
func (h *house) serveHTTP2(conns chan<- net.Conn) *http.Client {
	h.t.Helper()
	listener, err := h.net.Listen("proxy2.test:80")
	if err != nil {
		h.t.Fatal(err)
	}
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: h.Proxy, Protocols: only}
	ended := make(chan error)
	go func() { ended <- server.Serve(listener) }()
	transport := &http.Transport{Protocols: only, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := h.net.Dial(ctx, network, "proxy2.test:80")
		conns <- conn
		return conn, err
	}}
	h.t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
		<-ended
	})
	return &http.Client{Transport: transport}
}

// Requests that come to nothing take a target out, if it was the target that they
// came to nothing with, and they do not with another one.
func TestOnlyItsOwnFailuresTakeATargetOut(t *testing.T) {
	for name, tt := range map[string]struct {
		request string
		then    func(*house, net.Conn)
		dead    bool
		out     bool
	}{
		"no connection":             {request: get, dead: true, out: true},
		"closes at once":            {request: getting("/close"), out: true},
		"closes during answer":      {request: getting("/half"), out: true},
		"is silent":                 {request: getting("/silent"), then: goOn(5 * time.Second), out: true},
		"speaks no HTTP":            {request: getting("/garbage")},
		"answers with an error":     {request: getting("/500"), out: true},
		"answers too much":          {request: getting("/larger")},
		"loses a stream":            {request: getting("/lost-events")},
		"client leaves":             {request: getting("/silent"), then: leave},
		"client leaves answer":      {request: getting("/slow"), then: leave},
		"client leaves upload":      {request: upload + largeUpload, then: leave},
		"client stalls":             {request: upload + largeUpload, then: goOn(time.Minute)},
		"client sends what is none": {request: upload + chunked + "what?\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				app := h.misbehaves("web.test:80")
				h.net.Serve(t, "spare.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/events" {
						return
					}
					w.Header().Set("Content-Type", "text/event-stream")
					http.NewResponseController(w).Flush()
					<-r.Context().Done()
				}))
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web.test:80", "spare.test:80"},
					MaxResponseBody: 90, HealthCheck: parachute.HealthCheck{Interval: time.Hour}, Timeouts: parachute.Timeouts{Response: 5 * time.Second}}))
				health := func() parachute.Health { return h.Services()[0].Live.Targets[0].Health }
				open := func(request string) net.Conn {
					client, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
					is.NoErr(err)
					go io.WriteString(client, request)
					synctest.Wait()
					return client
				}
				for range 40 {
					is.Equal(strings.Fields(h.get("any.test"))[0], "200") // of one or the other
				}
				var streams []net.Conn
				for range 120 {
					client := open(getting("/events"))
					defer client.Close()
					streams = append(streams, client)
				}
				for _, client := range streams { // the spare keeps its own: the other has nothing to do then
					client.SetReadDeadline(time.Now().Add(time.Millisecond))
					if text, _ := io.ReadAll(client); strings.Contains(string(text), "data: 1") {
						client.Close()
					}
				}
				time.Sleep(time.Second) // as long as a server may take to notice
				is.True(h.Services()[0].Live.Targets[1].Streams >= 60)
				if tt.dead {
					app.Stop()
				}
				is.Equal(health(), parachute.HealthHealthy)
				var clients []net.Conn
				for range 100 {
					client := open(tt.request)
					defer client.Close()
					clients = append(clients, client)
				}
				for _, client := range clients {
					if tt.then != nil {
						tt.then(h, client)
					}
					synctest.Wait()
				}
				is.Equal(health() == parachute.HealthUnhealthy, tt.out)
			})
		})
	}
}
