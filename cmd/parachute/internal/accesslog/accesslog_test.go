package accesslog_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // of which a machine may have none
	"unicode/utf8"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
)

// newRequest returns a request as a server hands it to its handler.
func newRequest() *http.Request {
	r := httptest.NewRequest("POST", "/orders/7?page=2&q=a+b", strings.NewReader("{}"))
	r.Host = "app1.example.com:8080"
	r.RemoteAddr = "192.0.2.9:4711"
	r.Header = http.Header{
		"Content-Type": {"application/json"},
		"User-Agent":   {"curl/8.5.0 (test)"},
	}
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(local)))
}

// newOutcome returns how the request ended.
func newOutcome() parachute.Outcome {
	return parachute.Outcome{
		Service:   "web",
		Target:    "10.0.0.7:3000",
		Status:    201,
		BytesIn:   2,
		BytesOut:  17,
		Duration:  1500 * time.Microsecond,
		RequestID: "4c1e",
		Header:    http.Header{"Content-Type": {"text/html; charset=utf-8"}},
	}
}

// observe returns the line of a request.
func observe(t *testing.T, f accesslog.Format, r *http.Request, o parachute.Outcome) string {
	t.Helper()
	var out bytes.Buffer
	log := accesslog.New(&out, f)
	log.Observe(r, o)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func decode(t *testing.T, line string) map[string]any {
	t.Helper()
	fields := make(map[string]any)
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	return fields
}

func TestRequestHasKamalProxysFields(t *testing.T) {
	is := is.New(t)
	fields := decode(t, observe(t, accesslog.JSON, newRequest(), newOutcome()))
	at, err := time.Parse(time.RFC3339Nano, fields["time"].(string))
	is.NoErr(err)                         // time is RFC 3339
	is.True(time.Since(at) < time.Minute) // and it is now
	delete(fields, "time")
	is.Equal(fields, map[string]any{
		"level": "INFO", "msg": "Request",
		"host": "app1.example.com", "port": 8080.0, "path": "/orders/7", "query": "page=2&q=a+b",
		"request_id": "4c1e", "status": 201.0, "service": "web", "target": "10.0.0.7:3000",
		"duration": 1.5e6, "method": "POST",
		"req_content_length": 2.0, "req_content_type": "application/json",
		"resp_content_length": 17.0, "resp_content_type": "text/html; charset=utf-8",
		"client_addr": "192.0.2.9", "client_port": "4711", "remote_addr": "192.0.2.9",
		"user_agent": "curl/8.5.0 (test)", "proto": "HTTP/1.1", "scheme": "http",
	}) // exactly these fields
}

// newDeployment returns one that has headers logged.
func newDeployment() *parachute.Deployment {
	return &parachute.Deployment{Report: parachute.Report{
		RequestHeaders:  []string{"User-Agent", "X-Not-There"},
		ResponseHeaders: []string{"Content-Type"},
	}}
}

func TestHeadersThatTheServiceWantsAreLogged(t *testing.T) {
	is := is.New(t)
	r, o := newRequest(), newOutcome()
	r.Header["X-Tags"] = []string{"a", "b\""}
	o.Header.Set("Cache-Control", "no-store")
	o.Deployment = &parachute.Deployment{Report: parachute.Report{
		RequestHeaders:  []string{"user-agent", "X-Tags", "X-Not-There", `x"\y`},
		ResponseHeaders: []string{"Cache-Control", "Content-Type"},
	}}
	for _, f := range []accesslog.Format{accesslog.JSON, accesslog.Text} {
		line := observe(t, f, r, o)
		if f == accesslog.Text {
			is.True(strings.Contains(line, ` req_user_agent="curl/8.5.0 (test)" req_x_tags="a,b\"" req_x_not_there="" req_x__y="" resp_cache_control=no-store`))
			continue
		}
		fields := decode(t, line)
		is.Equal(fields["req_user_agent"], "curl/8.5.0 (test)")
		is.Equal(fields["req_x_tags"], `a,b"`) // all values
		is.Equal(fields["req_x_not_there"], "")
		is.Equal(fields["req_x__y"], "") // nothing of a name can end the field's
		is.Equal(fields["resp_cache_control"], "no-store")
	}
}

// The next request of a connection is made of the same memory.
func TestLineIsThatOfTheRequestAsItWas(t *testing.T) {
	is := is.New(t)
	r, o := newRequest(), newOutcome()
	r.Header["X-Forwarded-For"] = []string{"203.0.113.7"}
	o.Deployment = newDeployment()
	want := decode(t, observe(t, accesslog.JSON, r, o))
	var out bytes.Buffer
	log := accesslog.New(&out, accesslog.JSON)
	log.Observe(r, o)
	for _, h := range []http.Header{r.Header, o.Header} {
		for name := range h {
			h[name][0] = "spoilt"
		}
		clear(h)
	}
	r.URL.Path, r.URL.RawQuery = "/spoilt", "spoilt"
	*r = http.Request{}
	is.NoErr(log.Close()) // writes the line
	got := decode(t, out.String())
	delete(want, "time")
	delete(got, "time")
	is.Equal(got, want)
	is.Equal(got["remote_addr"], "203.0.113.7")
}

func TestRequestTellsWhatWentWrong(t *testing.T) {
	for name, test := range map[string]struct {
		outcome func(*parachute.Outcome)
		want    map[string]any
	}{
		"nothing": {func(o *parachute.Outcome) {}, map[string]any{"error": nil, "retries": nil, "unbuffered": nil}},
		"an error": {
			func(o *parachute.Outcome) { o.Err, o.Reason = errors.New("dial refused"), "unreachable" },
			map[string]any{"error": "dial refused", "retries": nil},
		},
		"a reason alone": {
			func(o *parachute.Outcome) { o.Reason = "no service" },
			map[string]any{"error": "no service", "retries": nil},
		},
		"rollout": {
			func(o *parachute.Outcome) { o.Rollout = true },
			map[string]any{"role": "rollout", "retries": nil},
		},
		"retries": {
			func(o *parachute.Outcome) { o.Retries = 2 },
			map[string]any{"error": nil, "retries": 2.0},
		},
		"no room": {
			func(o *parachute.Outcome) { o.Unbuffered = errors.New("the disk is full") },
			map[string]any{"error": nil, "unbuffered": "the disk is full"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			o := newOutcome()
			test.outcome(&o)
			fields := decode(t, observe(t, accesslog.JSON, newRequest(), o))
			for k, v := range test.want {
				is.Equal(fields[k], v) // what the line says
			}
		})
	}
}

func TestRemoteAddressIsWhatTheClientForwarded(t *testing.T) {
	is := is.New(t)
	r := newRequest()
	r.Header.Set("X-Forwarded-For", "203.0.113.5, 10.0.0.1")
	fields := decode(t, observe(t, accesslog.JSON, r, newOutcome()))
	is.Equal(fields["remote_addr"], "203.0.113.5, 10.0.0.1") // as it was sent
	is.Equal(fields["client_addr"], "192.0.2.9")             // the peer's
}

func TestHostAndPeerLoseTheirPorts(t *testing.T) {
	for hostport, want := range map[string][2]string{
		"app.test":        {"app.test", ""},
		"app.test:80":     {"app.test", "80"},
		"[2001:db8::1]:9": {"2001:db8::1", "9"},
		"[2001:db8::1]":   {"2001:db8::1", ""},
		"2001:db8::1":     {"2001:db8::1", ""},
		"@":               {"@", ""},
		"":                {"", ""},
		":80":             {"", "80"},
		"app.test:":       {"app.test", ""},
		"a:b:80":          {"a:b:80", ""},
		"::":              {"::", ""},
		"[":               {"", ""},
		"[::1":            {"::1", ""},
		"[::1]:":          {"::1", ""},
	} {
		t.Run(hostport, func(t *testing.T) {
			is := is.New(t)
			r := newRequest()
			r.Host, r.RemoteAddr = hostport, hostport
			fields := decode(t, observe(t, accesslog.JSON, r, newOutcome()))
			is.Equal(fields["host"], want[0])        // host
			is.Equal(fields["client_addr"], want[0]) // the peer's address
			is.Equal(fields["client_port"], want[1]) // the peer's port
		})
	}
}

func TestSchemeIsThatOfTheConnection(t *testing.T) {
	is := is.New(t)
	r := newRequest()
	r.TLS = &tls.ConnectionState{}
	fields := decode(t, observe(t, accesslog.JSON, r, newOutcome()))
	is.Equal(fields["scheme"], "https") // by TLS
}

func TestRequestWithoutAnAnswerHasALine(t *testing.T) {
	is := is.New(t)
	r := newRequest().WithContext(t.Context())
	fields := decode(t, observe(t, accesslog.JSON, r, parachute.Outcome{}))
	is.Equal(fields["status"], 0.0)           // none began
	is.Equal(fields["resp_content_type"], "") // so there is none
	is.Equal(fields["port"], 0.0)             // of a server that does not say
}

// hostile are values that have broken somebody's log.
var hostile = []string{
	"", " ", "plain", "a b", "a=b", `"quoted"`, `back\slash`, "line\nfeed", "\r\n{\"level\":\"ERROR\"}", "tab\t",
	"\x00\x01\x1f\x7f", "\x1b[31mred", "caf\u00e9", "\u2028\u2029\u0085", "\ufeff", "\xff\xfe", "half \xe2\x82", "\U0001f600", "<script>&'",
}

func TestLinesAreThoseOfSlog(t *testing.T) {
	for _, v := range hostile {
		t.Run(v, func(t *testing.T) {
			is := is.New(t)
			r, o := newRequest(), newOutcome()
			r.Header["User-Agent"] = []string{v}
			o.Retries = 3
			sameTime := func(groups []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.String(a.Key, "T")
				}
				return a
			}
			var asJSON, asText bytes.Buffer
			options := &slog.HandlerOptions{ReplaceAttr: sameTime}
			for _, h := range []slog.Handler{slog.NewJSONHandler(&asJSON, options), slog.NewTextHandler(&asText, options)} {
				slog.New(h).Info("Request",
					"host", "app1.example.com", "port", 8080, "path", "/orders/7", "request_id", "4c1e", "status", 201,
					"service", "web", "target", "10.0.0.7:3000", "duration", 1500000, "method", "POST",
					"req_content_length", 2, "req_content_type", "application/json",
					"resp_content_length", 17, "resp_content_type", "text/html; charset=utf-8",
					"client_addr", "192.0.2.9", "client_port", "4711", "remote_addr", "192.0.2.9",
					"user_agent", v, "proto", "HTTP/1.1", "scheme", "http", "query", "page=2&q=a+b", "retries", 3)
			}
			is.Equal(withoutTime(observe(t, accesslog.JSON, r, o), `"time":"`, `"`), asJSON.String()) // JSON
			is.Equal(withoutTime(observe(t, accesslog.Text, r, o), `time=`, ` `), asText.String())    // text
		})
	}
}

// withoutTime replaces what stands between before and after by T.
func withoutTime(line, before, after string) string {
	head, rest, _ := strings.Cut(line, before)
	_, tail, _ := strings.Cut(rest, after)
	return head + before + "T" + after + tail
}

// setLocal sets the time zone of the test.
func setLocal(t *testing.T, zone *time.Location) {
	before := time.Local
	time.Local = zone
	t.Cleanup(func() { time.Local = before })
}

func TestTimesAreThoseOfSlog(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for name, zone := range map[string]*time.Location{
		"UTC":            time.UTC,
		"summer time":    berlin, // from 2000-03-26T02:00:00+01:00 on
		"west of UTC":    time.FixedZone("", -(3*60+30)*60),
		"odd seconds":    time.FixedZone("LMT", 53*60+28),
		"seconds before": time.FixedZone("LMT", -(53*60 + 28)),
	} {
		for _, f := range []accesslog.Format{accesslog.JSON, accesslog.Text} {
			t.Run(name+" "+string(f), func(t *testing.T) {
				setLocal(t, zone)
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					var out bytes.Buffer
					log := accesslog.New(&out, f)
					program := slog.New(log.Handler(slog.LevelInfo))
					for _, until := range []string{
						"2000-01-01T00:00:00Z",
						"2000-01-01T00:00:00.000000001Z",
						"2000-01-01T00:00:00.0123456Z",
						"2000-01-01T00:00:00.1Z",
						"2000-01-01T00:00:00.9999Z",
						"2000-01-01T00:00:00.999999999Z",
						"2000-01-01T00:00:01Z",
						"2000-01-01T00:00:10Z",
						"2000-01-01T00:00:10.01Z",
						"2000-03-26T00:59:59.999999999Z",
						"2000-03-26T01:00:00Z",
						"2000-03-26T01:00:00.5Z",
						"2000-12-31T23:59:59.12Z",
						"2001-01-01T00:00:00.12Z",
					} {
						at, err := time.Parse(time.RFC3339Nano, until)
						is.NoErr(err)
						time.Sleep(time.Until(at))
						program.Info("Request")
						log.Observe(newRequest(), newOutcome())
					}
					is.NoErr(log.Close())
					lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
					is.Equal(len(lines), 2*14) // the program's, and as many of requests
					for i := 0; i < len(lines); i += 2 {
						is.True(strings.HasPrefix(lines[i+1], strings.TrimSuffix(lines[i], "}"))) // slog's time, level and message
					}
				})
			})
		}
	}
}

func TestNumbersAreThoseOfSlog(t *testing.T) {
	for _, n := range []int64{0, 1, 9, 10, 99, 100, 12345, 1<<32 - 1, 1 << 32, math.MaxInt64, -1, -9, -10, -404, math.MinInt64} {
		t.Run(strconv.FormatInt(n, 10), func(t *testing.T) {
			is := is.New(t)
			r, o := newRequest(), newOutcome()
			r.ContentLength, o.Status, o.BytesOut, o.Duration = n, int(n), n, time.Duration(n)
			digits := fmt.Sprint(n)
			asJSON, asText := observe(t, accesslog.JSON, r, o), observe(t, accesslog.Text, r, o)
			for _, name := range []string{"req_content_length", "status", "resp_content_length", "duration"} {
				is.True(strings.Contains(asJSON, `,"`+name+`":`+digits+`,"`)) // JSON
				is.True(strings.Contains(asText, " "+name+"="+digits+" "))    // text
			}
		})
	}
}

func TestLongValuesAreCut(t *testing.T) {
	const limit = 2048
	for name, v := range map[string]string{
		"a megabyte":           strings.Repeat("x", 1<<20),
		"one byte too many":    strings.Repeat("x", limit+1),
		"two-byte characters":  strings.Repeat("\u00e9", limit),
		"three-byte":           strings.Repeat("\u20ac", limit),
		"four-byte":            strings.Repeat("\U0001f600", limit),
		"no characters at all": strings.Repeat("\xbf", limit+1),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := newRequest()
			r.Header["User-Agent"] = []string{v}
			r.URL.Path = "/" + v
			line := observe(t, accesslog.JSON, r, newOutcome())
			fields := decode(t, line)
			for _, k := range []string{"user_agent", "path"} {
				got := fields[k].(string)
				is.True(strings.HasSuffix(got, "..."))                              // it says that it was cut
				is.True(utf8.RuneCountInString(got) <= limit)                       // to the limit
				is.True(strings.HasPrefix("/"+v, strings.TrimSuffix(got, "...")) || // between characters
					strings.HasPrefix(v, strings.TrimSuffix(got, "...")) ||
					!utf8.ValidString(v))
			}
			is.True(len(line) < 32<<10) // the line is short
		})
	}
	t.Run("as long as can be", func(t *testing.T) {
		is := is.New(t)
		r := newRequest()
		r.Header["User-Agent"] = []string{strings.Repeat("x", limit)}
		fields := decode(t, observe(t, accesslog.JSON, r, newOutcome()))
		is.Equal(fields["user_agent"], strings.Repeat("x", limit)) // whole
	})
}

func FuzzLineParses(f *testing.F) {
	for _, v := range hostile {
		f.Add(v, v)
	}
	f.Fuzz(func(t *testing.T, userAgent, path string) {
		r, o := newRequest(), newOutcome()
		r.Header["User-Agent"] = []string{userAgent}
		r.URL.Path = path
		line := observe(t, accesslog.JSON, r, o)
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("not one line: %q", line)
		}
		fields := decode(t, line)
		if len(path) <= 2048 && fields["path"] != strings.ToValidUTF8(eachByte(path), "\ufffd") {
			t.Fatalf("path %q became %q", path, fields["path"])
		}
		text := observe(t, accesslog.Text, r, o)
		if strings.Count(text, "\n") != 1 || !utf8.ValidString(text) {
			t.Fatalf("not one line of text: %q", text)
		}
	})
}

// eachByte replaces each byte that is no part of a character, as encoding/json
// does, where strings.ToValidUTF8 replaces a run of them.
func eachByte(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

// A connection may leave it to the system where it ends, but for the port.
type portAlone int

func (portAlone) Network() string { return "tcp" }
func (portAlone) String() string  { panic("is not needed") }
func (p portAlone) Port() int     { return int(p) }

func TestNoMoreThanThePortOfTheServerIsAskedFor(t *testing.T) {
	is := is.New(t)
	r := newRequest()
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(portAlone(8443))))
	line := observe(t, accesslog.JSON, r, newOutcome())
	is.True(strings.Contains(line, `"port":8443,`))
}
