package forward_test

import (
	"cmp"
	"crypto/tls"
	"net/http"
	"net/netip"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
)

func TestClientIsFoundBehindTrustedPeers(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tt := range []struct {
		name, peer string
		lists      []string
		want       string
		trusted    bool
	}{
		{"untrusted peer", "192.0.2.1:1000", nil, "192.0.2.1", false},
		{"untrusted peer with a list", "192.0.2.1:1000", []string{"198.51.100.1"}, "192.0.2.1", false},
		{"trusted peer without a list", "10.0.0.1:1000", nil, "10.0.0.1", true},
		{"trusted peer", "10.0.0.1:1000", []string{"198.51.100.1"}, "198.51.100.1", true},
		{"what a client invents is left of it", "10.0.0.1:1000", []string{"8.8.8.8, 198.51.100.1"}, "198.51.100.1", true},
		{"past trusted hops", "10.0.0.1:1000", []string{"8.8.8.8, 198.51.100.1, 10.0.0.3 ,10.0.0.2"}, "198.51.100.1", true},
		{"several lines", "10.0.0.1:1000", []string{"8.8.8.8, 198.51.100.1", "10.0.0.2"}, "198.51.100.1", true},
		{"all trusted", "10.0.0.1:1000", []string{"10.0.0.4, 10.0.0.3"}, "10.0.0.4", true},
		{"no address ends the walk", "10.0.0.1:1000", []string{"8.8.8.8, unknown, 10.0.0.2"}, "10.0.0.2", true},
		{"nothing left of it", "10.0.0.1:1000", []string{",198.51.100.1"}, "198.51.100.1", true},
		{"nor an empty one", "10.0.0.1:1000", []string{"8.8.8.8,"}, "10.0.0.1", true},
		{"with ports", "10.0.0.1:1000", []string{"198.51.100.1:4711, 10.0.0.2:80"}, "198.51.100.1", true},
		{"a bad port", "10.0.0.1:1000", []string{"198.51.100.1:http"}, "10.0.0.1", true},
		{"IPv6", "[fd00::1]:1000", []string{"2001:db8::1, [fd00::2], [fd00::3]:80"}, "2001:db8::1", true},
		{"a zone", "[fd00::1%eth0]:1000", []string{"2001:db8::1"}, "2001:db8::1", true},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:1000", []string{"::ffff:198.51.100.1"}, "198.51.100.1", true},
		{"a socket without address", "@", []string{"198.51.100.1"}, "invalid IP", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.lists}}
			c := forward.ClientOf(r, trusted, "")
			is.Equal(c.Addr.String(), tt.want)
			is.Equal(c.Trusted, tt.trusted)
		})
	}
}

func TestClientIsTheOneThatATrustedPeerNames(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct{ name, peer, header, value, want string }{
		{"named", "10.0.0.1:1000", "X-Client-Ip", "192.0.2.1", "192.0.2.1"},
		{"named with a port", "10.0.0.1:1000", "X-Client-Ip", "[2001:db8::1]:80", "2001:db8::1"},
		{"not asked for", "10.0.0.1:1000", "", "192.0.2.1", "198.51.100.1"},
		{"not named", "10.0.0.1:1000", "X-Client-Ip", "", "198.51.100.1"},
		{"not by an address", "10.0.0.1:1000", "X-Client-Ip", "unknown", "198.51.100.1"},
		{"by somebody else", "203.0.113.1:1000", "X-Client-Ip", "192.0.2.1", "203.0.113.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Client-Ip": {tt.value}, "X-Forwarded-For": {"198.51.100.1"}}}
			is.Equal(forward.ClientOf(r, trusted, tt.header).Addr.String(), tt.want)
		})
	}
}

func TestNearbyIsWhoCannotBeFarAway(t *testing.T) {
	for peer, want := range map[string]bool{
		"127.0.0.1:1": true, "10.1.2.3:1": true, "172.16.0.1:1": true, "172.31.255.255:1": true, "192.168.0.1:1": true, "169.254.1.1:1": true,
		"[::1]:1": true, "[fd00::1]:1": true, "[fe80::1%eth0]:1": true, "[::ffff:10.0.0.1]:1": true,
		"172.15.0.1:1": false, "172.32.0.1:1": false, "100.64.0.1:1": false, "8.8.8.8:1": false, "[2001:db8::1]:1": false, "@": false,
	} {
		t.Run(peer, func(t *testing.T) {
			is := is.New(t)
			is.Equal(forward.ClientOf(&http.Request{RemoteAddr: peer}, forward.NearbyPrefixes(), "").Trusted, want)
		})
	}
}

func TestNobodyIsTrustedByDefault(t *testing.T) {
	is := is.New(t)
	r := &http.Request{RemoteAddr: "127.0.0.1:1000", Header: http.Header{"X-Forwarded-For": {"192.0.2.1"}}}
	is.Equal(forward.ClientOf(r, nil, ""), forward.Client{Addr: netip.MustParseAddr("127.0.0.1")})
}

func TestClientCameOverTLSIfItsFirstProxySaysSo(t *testing.T) {
	for name, tt := range map[string]struct {
		proto     []string
		tls       bool
		untrusted bool
		want      bool
	}{
		"over TLS itself":                {tls: true, want: true},
		"over TLS to the peer":           {proto: []string{"https"}, want: true},
		"in capitals":                    {proto: []string{"HTTPS"}, want: true},
		"a WebSocket":                    {proto: []string{"wss"}, want: true},
		"a WebSocket without TLS":        {proto: []string{"ws"}},
		"over TLS to the first of two":   {proto: []string{"https,http"}, want: true},
		"over TLS to both":               {proto: []string{"https, https"}, want: true},
		"over TLS to the second alone":   {proto: []string{"http, https"}},
		"two that write lines":           {proto: []string{"https", "http"}, want: true},
		"two that write lines, plain":    {proto: []string{"http", "https"}},
		"nothing at the beginning":       {proto: []string{" ,wss , http"}, want: true},
		"nothing at all":                 {proto: []string{"", " , "}},
		"another scheme":                 {proto: []string{"httpsx"}},
		"over TLS, from a plain client":  {proto: []string{"http"}, tls: true, want: true}, // the answer is for the peer
		"somebody says so":               {proto: []string{"https"}, untrusted: true},
		"somebody says so of WebSockets": {proto: []string{"wss"}, untrusted: true},
		"somebody over TLS says nothing": {untrusted: true, tls: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := &http.Request{Header: http.Header{"X-Forwarded-Proto": tt.proto}}
			if tt.tls {
				r.TLS = new(tls.ConnectionState)
			}
			is.Equal(forward.Client{Trusted: !tt.untrusted}.IsSecure(r), tt.want)
		})
	}
}

func TestPortIsTheClientsAsATrustedPeerSays(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, tt := range map[string]struct {
		peer        string
		hops, ports []string
		proto       string
		tls         bool
		host        string
		http, https uint16
	}{
		"nobody says":                       {},
		"an untrusted peer says":            {peer: "192.0.2.1:1000", ports: []string{"8443"}, proto: "https"},
		"of https":                          {ports: []string{"8443"}, proto: "https", https: 8443},
		"of https for a WebSocket":          {ports: []string{"8443"}, proto: "wss", https: 8443},
		"of http":                           {ports: []string{"8080"}, proto: "http", http: 8080},
		"the usual one of http":             {ports: []string{"80"}, proto: "http", http: 80},
		"over TLS, of the client's http":    {ports: []string{"8080"}, proto: "http", tls: true, http: 8080},
		"over TLS, without a scheme":        {ports: []string{"8443"}, tls: true, https: 8443},
		"without a scheme, 80":              {ports: []string{"80"}, http: 80},
		"without a scheme, 443":             {ports: []string{"443"}, https: 443},
		"without a scheme, another":         {ports: []string{"8443"}, host: "app.test", http: 8443, https: 8443},
		"without a scheme, the one of Host": {ports: []string{"8080"}, host: "app.test:8080", http: 8080},
		"without a scheme, no name in Host": {ports: []string{"8080"}, host: ":8080", http: 8080},
		"the last element is the peer's":    {ports: []string{"666, 8443"}, proto: "https", https: 8443},
		"the last line is the peer's":       {ports: []string{"666", "8443"}, proto: "https", https: 8443},
		"a proxy's behind the client's":     {hops: []string{"198.51.100.1, 10.0.0.2"}, ports: []string{"666, 8443,80"}, proto: "https", https: 8443},
		"the client's from two lines":       {hops: []string{"198.51.100.1", "10.0.0.2"}, ports: []string{"666, 8443", "80"}, proto: "https", https: 8443},
		"one for several proxies":           {hops: []string{"198.51.100.1, 10.0.0.3, 10.0.0.2"}, ports: []string{"8443"}, proto: "https", https: 8443},
		"what the client invents":           {hops: []string{"8.8.8.8, 198.51.100.1"}, ports: []string{"666, 8443"}, proto: "https", https: 8443},
		"no number":                         {ports: []string{"https"}, proto: "https"},
		"no number behind one":              {ports: []string{"8443, https"}, proto: "https"},
		"nothing":                           {ports: []string{""}, proto: "https"},
		"0":                                 {ports: []string{"0"}, proto: "https"},
		"too large":                         {ports: []string{"65536"}, proto: "https"},
		"negative":                          {ports: []string{"-1"}, proto: "https"},
		"with a sign":                       {ports: []string{"+443"}, proto: "https"},
		"with more behind it":               {ports: []string{"443/"}, proto: "https"},
		"the largest, with spaces around":   {ports: []string{" \t65535 "}, proto: "https", https: 65535},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := &http.Request{RemoteAddr: cmp.Or(tt.peer, "10.0.0.1:1000"), Host: tt.host, Header: http.Header{
				"X-Forwarded-For": tt.hops, "X-Forwarded-Port": tt.ports, "X-Forwarded-Proto": {tt.proto},
			}}
			if tt.tls {
				r.TLS = new(tls.ConnectionState)
			}
			c := forward.ClientOf(r, trusted, "")
			is.Equal(c.Port(r, "http"), tt.http)
			is.Equal(c.Port(r, "https"), tt.https)
		})
	}
}
