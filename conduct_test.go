package parachute_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/bcrypt"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// with deploys app as the service web, with d for the rest.
func (h *house) with(app http.HandlerFunc, d parachute.Deployment) error {
	h.t.Helper()
	h.net.Serve(h.t, "web.test:80", app)
	d.Service, d.Targets = "web", []string{"web.test:80"}
	return h.Deploy(h.t.Context(), d)
}

// answer returns the answer to a request with these header fields, name and
// value by turns, with its body read.
func (h *house) answer(method, path, body string, header ...string) (*http.Response, string) {
	h.t.Helper()
	r, err := http.NewRequest(method, "http://proxy.test"+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := h.client.Do(r)
	if err != nil {
		return &http.Response{Header: http.Header{}}, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp, err.Error()
	}
	return resp, string(data)
}

func hello(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }

func TestAccessIsByNetwork(t *testing.T) {
	client := netip.MustParsePrefix("127.0.0.1/32") // as the network in memory has it
	for name, tt := range map[string]struct {
		access  parachute.Access
		trusted []netip.Prefix
		path    string
		want    int
	}{
		"allowed":                     {access: parachute.Access{Allow: []string{"127.0.0.0/8"}}, want: 200},
		"not allowed":                 {access: parachute.Access{Allow: []string{"10.0.0.0/8"}}, want: 403},
		"denied":                      {access: parachute.Access{Deny: []string{"127.0.0.1"}}, want: 403},
		"whatever it says of itself":  {access: parachute.Access{Deny: []string{"127.0.0.1"}}, path: "/up", want: 403},
		"the connection's address":    {access: parachute.Access{Deny: []string{"192.0.2.1"}}, want: 200},
		"the client's, if told whose": {access: parachute.Access{Deny: []string{"192.0.2.1"}}, trusted: []netip.Prefix{client}, want: 403},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{TrustedProxies: tt.trusted})
				is.NoErr(h.with(hello, parachute.Deployment{Access: tt.access}))
				resp, _ := h.answer("GET", "/"+strings.TrimPrefix(tt.path, "/"), "", "X-Forwarded-For", "192.0.2.1")
				is.Equal(resp.StatusCode, tt.want)
			})
		})
	}
}

func TestPasswordIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
		is.NoErr(err)
		file := filepath.Join(t.TempDir(), "htpasswd")
		is.NoErr(os.WriteFile(file, fmt.Appendf(nil, "ann:%s\n", hash), 0o600))
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.with(hello, parachute.Deployment{Access: parachute.Access{BasicAuthFile: file}}))
		resp, _ := h.answer("GET", "/", "")
		is.Equal(resp.StatusCode, 401)
		is.Equal(resp.Header.Get("WWW-Authenticate"), `Basic realm="restricted", charset="UTF-8"`)
		resp, body := h.answer("GET", "/", "", "Authorization", "Basic YW5uOnNlY3JldA==")
		is.Equal(resp.StatusCode, 200)
		is.Equal(body, "hello")
		resp, _ = h.answer("GET", "/up", "")
		is.Equal(resp.StatusCode, 401) // our own health checks do not come this way
	})
}

func TestPathsAreRedirected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.with(hello, parachute.Deployment{Redirects: []parachute.Redirect{
			{From: "/app/old", To: "/app/new"}, {From: "/app/shop", To: "https://shop.test/?from=web"},
		}, PathPrefixes: []string{"/app"}}))
		for _, tt := range []struct{ method, path, want string }{
			{"GET", "/app/old", "301 /app/new"},
			{"POST", "/app/old?a=b", "308 /app/new?a=b"},
			{"GET", "/app/shop?a=b", "301 https://shop.test/?from=web"},
			{"GET", "/app/old/er", "200 "},
		} {
			resp, _ := h.answer(tt.method, tt.path, "")
			is.Equal(fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Location")), tt.want)
		}
	})
}

func TestForwardedHeadersAreBelievedAsTheServiceSays(t *testing.T) {
	tell := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
	}
	for name, tt := range map[string]struct {
		forwarded    parachute.Forwarded
		trusted      []netip.Prefix
		want, client string
	}{
		"by default, those nearby": {want: "192.0.2.1, 127.0.0.1 https", client: "192.0.2.1"},
		"everybody":                {parachute.Forwarded{Trust: parachute.TrustEverybody}, []netip.Prefix{}, "192.0.2.1, 127.0.0.1 https", "192.0.2.1"},
		"nobody":                   {parachute.Forwarded{Trust: parachute.TrustNobody}, nil, "127.0.0.1 http", "127.0.0.1"},
		"a header of its own":      {parachute.Forwarded{ClientHeader: "CF-Connecting-IP"}, nil, "192.0.2.1, 127.0.0.1 https", "198.51.100.7"},
		"not from just anybody":    {parachute.Forwarded{ClientHeader: "CF-Connecting-IP"}, []netip.Prefix{}, "127.0.0.1 http", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				clients := make(chan string, 1)
				h := newHouse(t, parachute.Options{TrustedProxies: tt.trusted, Observe: func(_ *http.Request, o parachute.Outcome) { clients <- o.Client.String() }})
				is.NoErr(h.with(tell, parachute.Deployment{Forwarded: tt.forwarded}))
				_, body := h.answer("GET", "/", "", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https", "CF-Connecting-IP", "198.51.100.7")
				is.Equal(body, tt.want)
				is.Equal(<-clients, tt.client)
			})
		})
	}
}

func TestHeadersAreChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Secret", "inner")
			w.Header().Add("Set-Cookie", "a=b; Path=/; Secure")
			fmt.Fprintf(w, "%s %q", r.Header.Get("X-Added"), r.Header.Values("X-Gone"))
		}, parachute.Deployment{
			PathPrefixes: []string{"/api"},
			Headers: parachute.Headers{
				Request: []string{"set X-Added: yes", "del X-Gone"}, Response: []string{"del X-Secret", "set X-Frame-Options: DENY"},
				HSTS: "max-age=60", ScopeCookies: true,
			},
		}))
		resp, body := h.answer("GET", "/api/x", "", "X-Gone", "1")
		is.Equal(body, "yes []")
		is.Equal(resp.Header.Get("X-Secret"), "")
		is.Equal(resp.Header.Get("X-Frame-Options"), "DENY")
		is.Equal(resp.Header.Get("Set-Cookie"), "a=b; Path=/api; Secure")
		is.Equal(resp.Header.Get("Strict-Transport-Security"), "") // RFC 6797, section 7.2
		resp, _ = h.answer("GET", "/api/x", "", "X-Forwarded-Proto", "https")
		is.Equal(resp.Header.Get("Strict-Transport-Security"), "max-age=60")
	})
}

func TestRequestBodiesAreLimited(t *testing.T) {
	for _, buffered := range []bool{false, true} {
		t.Run(fmt.Sprintf("buffered=%v", buffered), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
					body, err := io.ReadAll(r.Body)
					if err == nil {
						w.Write(body)
					}
				}, parachute.Deployment{MaxRequestBody: 10, Buffer: parachute.Buffer{Requests: buffered}}))
				resp, body := h.answer("POST", "/", "0123456789")
				is.Equal(resp.StatusCode, 200)
				is.Equal(body, "0123456789")
				resp, _ = h.answer("POST", "/", "0123456789a")
				is.Equal(resp.StatusCode, 413)
				is.Equal(resp.Header.Get("X-Parachute-Error"), "too-large")

				conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
				is.NoErr(err)
				defer conn.Close()
				io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n8\r\n01234567\r\n")
				resp, err = http.ReadResponse(bufio.NewReader(conn), nil)
				is.NoErr(err)
				is.Equal(resp.StatusCode, 413) // as soon as it is passed
			})
		})
	}
}

func TestBufferedRequestReachesTheTargetWhenItIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{Spool: parachute.Spool{Dir: t.TempDir()}})
		app := func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%d %d %q", r.ContentLength, len(body), r.Header.Get("Expect"))
		}
		is.NoErr(h.with(app, parachute.Deployment{
			Buffer:      parachute.Buffer{Requests: true, Memory: 100},
			HealthCheck: parachute.HealthCheck{Interval: time.Hour},
		}))
		conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
		is.NoErr(err)
		defer conn.Close()
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		is.NoErr(err)
		is.Equal(resp.StatusCode, 100)
		piece := strings.Repeat("x", 1000)
		for range 3 {
			fmt.Fprintf(conn, "3e8\r\n%s\r\n", piece)
			time.Sleep(time.Second)
		}
		is.Equal(h.net.Conns("web.test:80"), 0) // no target is occupied by it
		io.WriteString(conn, "0\r\n\r\n")
		resp, err = http.ReadResponse(reader, nil)
		is.NoErr(err)
		body, err := io.ReadAll(resp.Body)
		is.NoErr(err)
		is.Equal(string(body), `3000 3000 ""`)
	})
}

func TestAnswersAreLimitedAndBuffered(t *testing.T) {
	for name, tt := range map[string]struct {
		buffer parachute.Buffer
		app    http.HandlerFunc
		status int
		body   string
	}{
		"counted": {parachute.Buffer{}, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, strings.Repeat("x", 11)) }, 502, ""},
		"counted, buffered": {parachute.Buffer{Responses: true}, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.Repeat("x", 11))
		}, 502, ""},
		"within, buffered": {parachute.Buffer{Responses: true, Memory: -1}, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints) // leaves the final status alone
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, "hello")
		}, 418, "hello"},
		"of unknown length": {parachute.Buffer{Responses: true}, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
			io.WriteString(w, "hello, hello")
		}, 200, "unexpected EOF"},
		"events": {parachute.Buffer{Responses: true}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for range 5 {
				io.WriteString(w, "data\n")
			}
		}, 200, strings.Repeat("data\n", 5)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				is.NoErr(h.with(tt.app, parachute.Deployment{Buffer: tt.buffer, MaxResponseBody: 10}))
				resp, body := h.answer("GET", "/", "")
				is.Equal(resp.StatusCode, tt.status)
				if tt.status == 502 {
					is.Equal(resp.Header.Get("X-Parachute-Error"), "too-large")
				} else {
					is.Equal(body, tt.body)
				}
			})
		})
	}
}

// The event stream of a buffered service must not hang.
func TestEventsAreNotBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: 1\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, parachute.Deployment{Buffer: parachute.Buffer{Responses: true}}))
		resp, err := h.client.Get("http://proxy.test/")
		is.NoErr(err)
		defer resp.Body.Close()
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		is.NoErr(err)
		is.Equal(line, "data: 1\n")
	})
}

func TestErrorPagesAreTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		is.NoErr(os.WriteFile(filepath.Join(dir, "5xx.html"), []byte("<p>sorry, {{.Status}} {{.RequestID}}"), 0o644))
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.with(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			parachute.Deployment{ErrorPages: dir, Hosts: []string{"proxy.test"}, Timeouts: parachute.Timeouts{Hold: -1}}))
		resp, body := h.answer("POST", "/", "x", "Accept", "text/html", "X-Request-Id", "abc")
		is.Equal(resp.StatusCode, 502)
		is.Equal(body, "<p>sorry, 502 abc")
		_, body = h.answer("POST", "/", "x", "Accept", "application/json", "X-Request-Id", "abc")
		is.True(strings.Contains(body, `"status":502`))

		is.NoErr(os.WriteFile(filepath.Join(dir, "404.html"), []byte("{{.Broken"), 0o644))
		err := h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web.test:80"}, ErrorPages: dir})
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.True(strings.Contains(err.Error(), "404.html"))
	})
}

func TestWhichPartAnsweredIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		resp, _ := h.answer("GET", "/", "")
		is.Equal(resp.Header.Get("X-Parachute-Error"), "no-route")
		is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Minute) },
			parachute.Deployment{Timeouts: parachute.Timeouts{Response: time.Second, Hold: -1}}))
		resp, _ = h.answer("GET", "/", "")
		is.Equal(resp.StatusCode, 504)
		is.Equal(resp.Header.Get("X-Parachute-Error"), "timeout")
	})
}

func TestHealthChecksAreAsTheServiceSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		app := h.net.Serve(t, "web.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Probe") == "yes" {
				w.WriteHeader(http.StatusFound)
			}
		}))
		app.SetHealth(0)
		deploy := func(status string) error {
			return h.Deploy(t.Context(), parachute.Deployment{
				Service: "web", Targets: []string{"web.test:80"}, Timeouts: parachute.Timeouts{Deploy: time.Second},
				HealthCheck: parachute.HealthCheck{Headers: []string{"X-Probe: yes"}, Status: status},
			})
		}
		is.True(errors.Is(deploy(""), parachute.ErrUnhealthy))
		is.NoErr(deploy("200-399"))
		is.NoErr(deploy("302"))
		is.True(errors.Is(deploy("2xx"), parachute.ErrInvalid))
	})
}

func TestWhatCannotBeSaidOfRequestsIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		d    parachute.Deployment
		want string
	}{
		"redirect from":   {parachute.Deployment{Redirects: []parachute.Redirect{{From: "old", To: "/new"}}}, `redirect from "old": want a path`},
		"redirect to":     {parachute.Deployment{Redirects: []parachute.Redirect{{From: "/old", To: "//evil.test"}}}, `redirect to "//evil.test": want a path`},
		"negative limit":  {parachute.Deployment{MaxRequestBody: -1}, "limits of -1 bytes for a request"},
		"relative pages":  {parachute.Deployment{ErrorPages: "pages"}, `error pages "pages": want an absolute path`},
		"missing pages":   {parachute.Deployment{ErrorPages: "/nowhere/pages"}, "/nowhere/pages"},
		"relative users":  {parachute.Deployment{Access: parachute.Access{BasicAuthFile: "users"}}, `basic auth file "users": want an absolute path`},
		"missing users":   {parachute.Deployment{Access: parachute.Access{BasicAuthFile: "/nowhere/users"}}, "/nowhere/users"},
		"network":         {parachute.Deployment{Access: parachute.Access{Allow: []string{"10.0.0.0/99"}}}, "10.0.0.0/99"},
		"trust":           {parachute.Deployment{Forwarded: parachute.Forwarded{Trust: "some"}}, `trust in forwarded headers "some": want`},
		"client header":   {parachute.Deployment{Forwarded: parachute.Forwarded{ClientHeader: "a b"}}, `client header "a b": want the name of a header`},
		"rule":            {parachute.Deployment{Headers: parachute.Headers{Request: []string{"add X: y"}}}, "add X: y"},
		"hsts":            {parachute.Deployment{Headers: parachute.Headers{HSTS: "yes"}}, "max-age"},
		"probe header":    {parachute.Deployment{HealthCheck: parachute.HealthCheck{Headers: []string{"Host: x"}}}, `health check header "Host: x": want NAME: VALUE`},
		"keep-alive":      {parachute.Deployment{TargetKeepAlive: parachute.TargetKeepAlive{Requests: -1}}, "-1 requests on a connection to a target: want 0 for any number, or more"},
		"two keep-alives": {parachute.Deployment{TargetKeepAlive: parachute.TargetKeepAlive{Off: true, Requests: 2}}, "2 requests on a connection to a target"},
		"odd read target": {parachute.Deployment{ReadTargets: []string{"web"}}, `target "web" has no port`},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			p := parachute.New(parachute.Options{})
			defer p.Close()
			tt.d.Service, tt.d.Targets = "web", []string{"web.test:80"}
			tt.d.Force = true // there is nobody whose health could be waited for
			err := p.Deploy(t.Context(), tt.d)
			is.True(errors.Is(err, parachute.ErrInvalid))
			is.True(strings.Contains(err.Error(), tt.want)) // tt.want
		})
	}
}

// That is how docker exec asks for a stream.
func TestUpgradeGoesOnBehindABodyHoweverThatIsSent(t *testing.T) {
	for name, d := range map[string]parachute.Deployment{
		"as it comes": {},
		"buffered":    {Buffer: parachute.Buffer{Requests: true}},
		"limited":     {MaxRequestBody: 5},
	} {
		for framing, body := range map[string]string{
			"counted": "Content-Length: 5\r\n\r\nhello",
			"chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		} {
			t.Run(name+", "+framing, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					h := newHouse(t, parachute.Options{})
					is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
						text, err := io.ReadAll(r.Body)
						if err != nil || r.Header.Get("Upgrade") != "tcp" {
							return
						}
						conn, rw, err := http.NewResponseController(w).Hijack()
						if err != nil {
							panic(err)
						}
						defer conn.Close()
						io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"+string(text)+" ")
						io.Copy(conn, rw)
					}, d))
					conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
					is.NoErr(err)
					defer conn.Close()
					io.WriteString(conn, "POST /exec HTTP/1.1\r\nHost: any.test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"+body+"ahead")
					head, err := proxytest.ReadHead(conn)
					is.NoErr(err)
					is.Equal(head, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
					is.NoErr(conn.(interface{ CloseWrite() error }).CloseWrite())
					rest, err := io.ReadAll(conn)
					is.NoErr(err)
					is.Equal(string(rest), "hello ahead")
				})
			})
		}
	}
}

// kamal-proxy tells it so, and apps send it back.
func TestAnswerNamesItsTargetInTheHeaderForThat(t *testing.T) {
	for name, header := range map[string]string{"": "", "X-Kamal-Target": "x-kamal-target"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{TargetHeader: header})
				told := make(chan string, 2)
				is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
					told <- r.Header.Get("X-Kamal-Target")
					w.Header()["X-Kamal-Target"] = r.Header["X-Kamal-Target"]
					if r.Header.Get("Upgrade") != "" {
						http.NewResponseController(w).EnableFullDuplex()
						w.Header().Set("Connection", "Upgrade")
						w.Header().Set("Upgrade", "tcp")
						w.WriteHeader(http.StatusSwitchingProtocols)
					}
				}, parachute.Deployment{}))
				target := h.Services()[0].Deployment.Targets[0]
				res, _ := h.answer("GET", "/", "", "X-Kamal-Target", "forged")
				if header == "" {
					is.Equal(<-told, "forged")
					is.Equal(res.Header["X-Kamal-Target"], []string{"forged"}) // it is a header like any other
					return
				}
				is.Equal(<-told, target)
				is.Equal(res.Header["X-Kamal-Target"], []string{target}) // once, although the app sends it back

				conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
				is.NoErr(err)
				defer conn.Close()
				io.WriteString(conn, "GET / HTTP/1.1\r\nHost: any.test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
				head, err := proxytest.ReadHead(conn)
				is.NoErr(err)
				is.Equal(<-told, target)
				is.Equal(strings.Count(head, "X-Kamal-Target: "+target), 1) // an upgrade says so as well
			})
		})
	}
}
