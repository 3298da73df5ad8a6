package forward_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
)

// outgoing returns the header with which r goes on.
func outgoing(t *testing.T, r *http.Request, o forward.Options) http.Header {
	t.Helper()
	var got http.Header
	_, err := forward.Forward(&nowhere{make(http.Header)}, r, func(_ *http.Request, _ string, h field.View, _ func(int, http.Header)) (*http.Response, error) {
		got = h.Clone()
		return response(204, ""), nil
	}, &o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestForwardedProtoIsThatOfTheConnection(t *testing.T) {
	is := is.New(t)
	r := read(t, "GET", "/")
	is.Equal(outgoing(t, r, forward.Options{})["X-Forwarded-Proto"], []string{"http"})
	r.TLS = new(tls.ConnectionState)
	is.Equal(outgoing(t, r, forward.Options{})["X-Forwarded-Proto"], []string{"https"})
}

func TestOptionsCountHowOftenTheyArePassedOn(t *testing.T) {
	for _, tt := range []struct {
		method     string
		said, want []string
		last       bool
	}{
		{"OPTIONS", nil, nil, false},
		{"OPTIONS", []string{"0"}, []string{"0"}, true}, // whoever asks does not send it
		{"OPTIONS", []string{"1"}, []string{"0"}, false},
		{"OPTIONS", []string{"010"}, []string{"9"}, false},
		{"OPTIONS", []string{"-1"}, []string{"-1"}, false}, // no number
		{"OPTIONS", []string{"1", "0"}, []string{"1", "0"}, false},
		{"GET", []string{"0"}, []string{"0"}, false}, // nothing to this method
		{"GET", []string{"5"}, []string{"5"}, false},
	} {
		is := is.New(t)
		r := read(t, tt.method, "/")
		if tt.said != nil {
			r.Header["Max-Forwards"] = tt.said
		}
		is.Equal(outgoing(t, r, forward.Options{})["Max-Forwards"], tt.want)
		is.Equal(forward.IsLastHop(r), tt.last)
	}
}

// To many servers X_Kamal_Target is X-Kamal-Target.
func TestTargetIsNamedInOneSpelling(t *testing.T) {
	is := is.New(t)
	r := read(t, "GET", "/")
	r.Header = http.Header{"X-Kamal-Target": {"evil"}, "X_kamal_target": {"evil"}, "X-Kamal_target": {"evil"}, "X_kamal": {"a"}}
	got := outgoing(t, r, forward.Options{TargetHeader: "X-Kamal-Target", Target: []string{"web-1:80"}})
	is.Equal(got["X-Kamal-Target"], []string{"web-1:80"})
	is.Equal(got["X_kamal_target"], nil)
	is.Equal(got["X-Kamal_target"], nil)
	is.Equal(got["X_kamal"], []string{"a"})
	is.Equal(outgoing(t, r, forward.Options{})["X_kamal_target"], []string{"evil"}) // nobody sets it
}

func TestForwardedForIsThePeersAddress(t *testing.T) {
	for peer, want := range map[string][]string{
		"192.0.2.1:1000":      {"192.0.2.1"},
		"[2001:db8::1]:1000":  {"2001:db8::1"},
		"[fe80::1%eth0]:1000": {"fe80::1"}, // whose zone means something here only
		"@":                   nil,
	} {
		is := is.New(t)
		r := read(t, "GET", "/")
		r.RemoteAddr = peer
		is.Equal(outgoing(t, r, forward.Options{Client: forward.ClientOf(r, nil, "")})["X-Forwarded-For"], want)
	}
}

func TestEachProtocolThatIsAskedForIsPassedOn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		asked []string
		want  []string
	}{
		{"one", []string{"websocket"}, []string{"websocket"}},
		{"a list", []string{"foo/1, bar"}, []string{"foo/1, bar"}},
		{"lines", []string{"websocket", "foo"}, []string{"websocket, foo"}},
		{"but none that would be HTTP again", []string{"h2c, foo", "HTTP/2.0"}, []string{"foo"}},
		{"none", []string{"TLS/1.0"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			r := read(t, "GET", "/")
			r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": tt.asked}
			is.Equal(outgoing(t, r, forward.Options{})["Upgrade"], tt.want)
		})
	}
}

// The maps are used again; nothing of one request may be seen in another.
func TestHeadersDoNotMix(t *testing.T) {
	is := is.New(t)
	first, second := read(t, "GET", "/"), read(t, "GET", "/")
	first.Header = http.Header{"X-First": {"a"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Te": {"trailers"}}
	for i := range 100 {
		first.Header.Set("X-"+string(rune('A'+i%26))+string(rune('A'+i/26)), "x") // too many to be kept
	}
	o := forward.Options{Client: forward.Client{Addr: netip.MustParseAddr("192.0.2.1")}, RequestID: "1", Prefix: "/a", Start: start}
	first.RemoteAddr = "192.0.2.1:1000"
	for range 3 {
		outgoing(t, first, o)
		is.Equal(outgoing(t, second, forward.Options{}), http.Header{"X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"app.test"}})
	}
}

func TestRequestStartIsThatOfTheRequest(t *testing.T) {
	is := is.New(t)
	for _, ms := range []int64{1700000000123, 1700000000123, 1700000000124, 1700000000123} {
		h := outgoing(t, read(t, "GET", "/"), forward.Options{Start: time.UnixMilli(ms)})
		is.Equal(h.Get("X-Request-Start"), fmt.Sprintf("t=%d", ms))
	}
}

func TestTheClientsHeaderIsLeftAlone(t *testing.T) {
	is := is.New(t)
	r := read(t, "POST", "/")
	r.Header = http.Header{"Connection": {"close, X-A"}, "X-A": {"b"}, "X-Forwarded-For": {"192.0.2.2"}, "Expect": {"100-continue"}}
	want := r.Header.Clone()
	outgoing(t, r, forward.Options{Client: forward.Client{Addr: netip.MustParseAddr("192.0.2.1"), Trusted: true}})
	is.Equal(r.Header, want)
}
