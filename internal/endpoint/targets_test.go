package endpoint_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/endpoint"
)

func TestTargetsAreParsedInTheirOrder(t *testing.T) {
	is := is.New(t)
	all, err := endpoint.ParseAll([]string{"http://b:1", "unix:/a", "https://c:1"})
	is.NoErr(err)
	is.Equal(all, []endpoint.Target{
		{Endpoint: endpoint.Endpoint{Scheme: "http", Network: "tcp", Address: "b:1"}, Given: "http://b:1"},
		{Endpoint: endpoint.Endpoint{Scheme: "http", Network: "unix", Address: "/a"}, Given: "unix:/a"},
		{Endpoint: endpoint.Endpoint{Scheme: "https", Network: "tcp", Address: "c:1"}, Given: "https://c:1"},
	})
	all, err = endpoint.ParseAll([]string{"b:1", "c"})
	is.Equal(err.Error(), `target "c" has no port: want host:port, such as web-1:3000`)
	is.Equal(len(all), 0)
}

func TestHealthIsCalledForOverHTTP2Alone(t *testing.T) {
	is := is.New(t)
	check := func(targets ...string) error {
		all, err := endpoint.ParseAll(targets)
		is.NoErr(err)
		is.NoErr(endpoint.Check(all, false, 0, false))
		return endpoint.Check(all, true, 0, false)
	}
	is.NoErr(check("h2c://a:1", "https://b:1"))
	for _, target := range []string{"a:1", "unix:/a", "handler:web"} {
		is.Equal(check("h2c://b:1", target).Error(), "target "+target+": a gRPC health check takes HTTP/2: name it h2c://web-1:3000, or https://web-1:3000 if it speaks TLS, or check it without gRPC")
	}
}

func TestPortOfTheHealthCheckIsForTargetsWithPorts(t *testing.T) {
	is := is.New(t)
	check := func(port int, secure bool, targets ...string) string {
		all, err := endpoint.ParseAll(targets)
		is.NoErr(err)
		if err = endpoint.Check(all, false, port, secure); err != nil {
			return err.Error()
		}
		return ""
	}
	const portless = "health check port 9: a target on a unix socket has no port, nor has a handler"
	is.Equal(check(9, false, "a:1", "https://b:1"), "")
	is.Equal(check(0, false, "a:1", "unix:/a"), "")
	is.Equal(check(9, false, "a:1", "unix:/a"), portless)
	is.Equal(check(9, true, "handler:web", "a:1"), portless)

	const plain = "target TLS: none of the targets is an https:// one"
	is.Equal(check(0, true, "a:1", "https://b:1", "h2c://c:1"), "") // one is enough
	is.Equal(check(0, true, "a:1", "h2c://c:1"), plain)
}
