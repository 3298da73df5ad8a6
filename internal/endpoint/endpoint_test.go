package endpoint_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/endpoint"
)

func TestTargetsAreParsed(t *testing.T) {
	tests := []struct {
		target string
		want   endpoint.Endpoint
		host   string
		port   uint16
		isName bool
	}{
		{"web-1:3000", endpoint.Endpoint{Scheme: "http", Network: "tcp", Address: "web-1:3000"}, "web-1", 3000, true},
		{"10.0.0.7:65535", endpoint.Endpoint{Scheme: "http", Network: "tcp", Address: "10.0.0.7:65535"}, "10.0.0.7", 65535, false},
		{"[::1]:1", endpoint.Endpoint{Scheme: "http", Network: "tcp", Address: "[::1]:1"}, "::1", 1, false},
		{"http://127.0.0.1:3000", endpoint.Endpoint{Scheme: "http", Network: "tcp", Address: "127.0.0.1:3000"}, "127.0.0.1", 3000, false},
		{"https://web-1:443", endpoint.Endpoint{Scheme: "https", Network: "tcp", Address: "web-1:443"}, "web-1", 443, true},
		{"h2c://web-1:3000", endpoint.Endpoint{Scheme: "h2c", Network: "tcp", Address: "web-1:3000"}, "web-1", 3000, true},
		{"unix:/run/web.sock", endpoint.Endpoint{Scheme: "http", Network: "unix", Address: "/run/web.sock"}, "", 0, false},
		{"handler:web", endpoint.Endpoint{Scheme: "http", Network: "handler", Address: "web"}, "", 0, false},
		{"handler:0", endpoint.Endpoint{Scheme: "http", Network: "handler", Address: "0"}, "", 0, false},
		{"handler:3000", endpoint.Endpoint{Scheme: "http", Network: "tcp", Address: "handler:3000"}, "handler", 3000, true}, // a host of that name
		{"unix:/run/a b:3", endpoint.Endpoint{Scheme: "http", Network: "unix", Address: "/run/a b:3"}, "", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			is := is.New(t)
			got, err := endpoint.Parse(tt.target)
			is.NoErr(err)
			is.Equal(got, tt.want)
			host, port := got.HostPort()
			is.Equal(host, tt.host)
			is.Equal(port, tt.port)
			name, isName := got.Name()
			is.Equal(isName, tt.isName)
			is.Equal(name != "", isName) // there is a name only where it is one
		})
	}
}

func TestErrorsTellWhatToWriteInstead(t *testing.T) {
	for target, want := range map[string]string{
		"":                    "target is empty: want host:port, such as web-1:3000",
		"https://":            "target is empty: want host:port, such as web-1:3000",
		"web-1":               `target "web-1" has no port: want host:port, such as web-1:3000`,
		"web-1:":              `target "web-1:" has no port: want host:port, such as web-1:3000`,
		":3000":               `target ":3000" has no host name: want host:port, such as web-1:3000`,
		"web 1:3000":          `target "web 1:3000" has no host name: want host:port, such as web-1:3000`,
		"web-1:0":             `target "web-1:0": port "0" is not between 1 and 65535`,
		"web-1:65536":         `target "web-1:65536": port "65536" is not between 1 and 65535`,
		"web-1:http":          `target "web-1:http": port "http" is not between 1 and 65535`,
		"::1:3000":            `target "::1:3000": an IPv6 address stands in brackets, as in [::1]:3000`,
		"web-1:3000/path":     `target "web-1:3000/path" has a path: want host:port alone, such as web-1:3000`,
		"http://web-1":        `target "http://web-1" has no port: want host:port, such as web-1:3000`,
		"http://web-1:3000/":  `target "http://web-1:3000/" has a path: want host:port alone, such as web-1:3000`,
		"http://web-1:3000/x": `target "http://web-1:3000/x" has a path: want host:port alone, such as web-1:3000`,
		"ftp://web-1:3000":    `target "ftp://web-1:3000" has an unknown scheme: want host:port alone, https://host:port or h2c://host:port`,
		"https://web-1":       `target "https://web-1" has no port: want host:port, such as web-1:3000`,
		"unix:web.sock":       `target "unix:web.sock": want an absolute path, as in unix:/run/web.sock`,
		"handler:":            `target "handler:": want the name of a handler, as in handler:web`,
		"handler:a b":         `target "handler:a b": want the name of a handler, as in handler:web`,
		"unix:":               `target "unix:": want an absolute path, as in unix:/run/web.sock`,
		"unix:/run/web\x00.s": `target "unix:/run/web\x00.s": want an absolute path, as in unix:/run/web.sock`,
	} {
		t.Run(target, func(t *testing.T) {
			is := is.New(t)
			got, err := endpoint.Parse(target)
			is.True(err != nil)
			is.Equal(err.Error(), want)
			is.Equal(got, endpoint.Endpoint{}) // nothing that could be used
		})
	}
}

func TestPlaceIsTheSameWhateverIsSpokenThere(t *testing.T) {
	is := is.New(t)
	plain, err := endpoint.Parse("web-1:3000")
	is.NoErr(err)
	h2c, err := endpoint.Parse("h2c://web-1:3000")
	is.NoErr(err)
	is.True(plain != h2c)
	is.Equal(plain.Place(), h2c.Place())
}

func TestURLOfAnEndpointIsThatOfItsClients(t *testing.T) {
	for target, want := range map[string][2]string{
		"web-1:3000":         {"web-1:3000", "http://web-1:3000/up"},
		"https://[::1]:3000": {"[::1]:3000", "https://[::1]:3000/up"},
		"h2c://web-1:3000":   {"web-1:3000", "http://web-1:3000/up"},
		"unix:/run/web.sock": {"localhost", "http://localhost/up"},
		"handler:web":        {"localhost", "http://localhost/up"},
	} {
		is := is.New(t)
		e, err := endpoint.Parse(target)
		is.NoErr(err)
		is.Equal([2]string{e.Authority(), e.URL("/up")}, want)
	}
}

func TestPortOfAnEndpointIsReplaced(t *testing.T) {
	for target, want := range map[string]string{
		"web-1:3000":         "web-1:9",
		"https://[::1]:3000": "[::1]:9",
		"unix:/run/web.sock": "/run/web.sock",
	} {
		t.Run(target, func(t *testing.T) {
			is := is.New(t)
			e, err := endpoint.Parse(target)
			is.NoErr(err)
			other := e.WithPort(9)
			is.Equal(other.Address, want)
			is.Equal([]string{other.Scheme, other.Network}, []string{e.Scheme, e.Network})
			is.Equal(e.WithPort(0), e) // which stands for its own
		})
	}
}

// FuzzParse gives Parse what users and state files may: what it takes can be
// connected to, and goes into no header or log as something else.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"web-1:3000", "[::1]:1", "https://a:443", "http://a:1", "http://http://a:1", "h2c://a:1", "unix:/a", "unix:", "handler:web", "handler:1", "handler:\n", "a:b:c", "://", "https://u@h:1", "[fe80::1%eth0]:80", "a\r\n:1", "ä:1", "a:+1", "a:01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		is := is.New(t)
		e, err := endpoint.Parse(target)
		if err != nil {
			is.Equal(e, endpoint.Endpoint{})
			return
		}
		if e.IsHandler() {
			is.Equal("handler:"+e.Address, target)
			is.True(!strings.ContainsAny(e.Address, "\x00\r\n "))
			return
		}
		if e.IsUnix() {
			is.Equal("unix:"+e.Address, target) // every byte of the path is kept
			is.Equal(e.Scheme, "http")
			return
		}
		is.Equal(e.Network, "tcp")
		is.True(e.Scheme == "http" && e.Address == strings.TrimPrefix(target, "http://") || e.Scheme+"://"+e.Address == target)
		is.True(!strings.ContainsAny(e.Address, "\x00\r\n /@"))
		_, port, err := net.SplitHostPort(e.Address)
		is.NoErr(err)
		is.True(port != "")
		host, n := e.HostPort()
		is.True(host != "" && n > 0)
		name, isName := e.Name()
		_, err = netip.ParseAddr(host)
		is.Equal(isName, err != nil) // it is looked up where it is no address
		is.True(!isName || name == host)
	})
}

func TestTargetIsDistinctInWhateverSpelling(t *testing.T) {
	is := is.New(t)
	is.Equal(endpoint.Distinct([]string{"b:1", "a:1", "http://b:1", "https://b:1", "a:1", "?", "?"}), []string{"b:1", "a:1", "https://b:1", "?", "?"})
	is.Equal(endpoint.Distinct(nil), nil)
}
