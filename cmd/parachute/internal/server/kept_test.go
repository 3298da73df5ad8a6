package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// redeploy deploys the app of the site again, as d says.
func (s *site) redeploy(t *testing.T, socket string, d parachute.Deployment) {
	t.Helper()
	d.Service, d.Targets = "web", []string{s.app.Listener.Addr().String()}
	client := &control.Client{Sockets: []string{socket}}
	if _, err := client.Deploy(t.Context(), d, nil); err != nil {
		t.Fatal(err)
	}
}

// files returns the TLS of a new pair for hosts.
func (s *site) files(t *testing.T, hosts ...string) parachute.TLS {
	t.Helper()
	certFile, keyFile := s.ca.WritePair(t, t.TempDir(), hosts...)
	return parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile}
}

// status returns the status of a GET of / on a host, and whether the client
// made a new connection for it.
func (s *site) status(t *testing.T, client *http.Client, host string) (status int, isNew bool) {
	t.Helper()
	trace := &httptrace.ClientTrace{ConnectStart: func(string, string) { isNew = true }}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "https://"+s.secure+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	bodyOf(t, res)
	return res.StatusCode, isNew
}

func TestKeptConnectionsOfEveryVersionAreServedAsTheNewestDeploySays(t *testing.T) {
	t.Parallel()
	ours := []string{host}
	for name, tt := range map[string]struct {
		then func(t *testing.T, s *site) parachute.Deployment
		want int
	}{
		"TLS is turned off": {
			func(*testing.T, *site) parachute.Deployment {
				return parachute.Deployment{Hosts: ours, TLS: parachute.TLS{Mode: parachute.TLSOff}}
			}, http.StatusMisdirectedRequest,
		},
		"another host": {
			func(t *testing.T, s *site) parachute.Deployment {
				return parachute.Deployment{Hosts: []string{"new.test"}, TLS: s.files(t, "new.test")}
			}, http.StatusMisdirectedRequest,
		},
		"nobody is let in": {
			func(t *testing.T, s *site) parachute.Deployment {
				return parachute.Deployment{Hosts: ours, TLS: s.files(t, host), Access: parachute.Access{Deny: []string{"127.0.0.0/8"}}}
			}, http.StatusForbidden,
		},
		"a new certificate": {
			func(t *testing.T, s *site) parachute.Deployment {
				return parachute.Deployment{Hosts: ours, TLS: s.files(t, host)}
			},
			http.StatusOK,
		},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
			t.Run(fmt.Sprint(name, " ", proto), func(t *testing.T) {
				t.Parallel()
				is := is.New(t)
				c := newConfig(t)
				c.HTTP3 = true
				s := startSite(t, c)
				client := s.clients(t)[proto]
				status, _ := s.status(t, client, host)
				is.Equal(status, http.StatusOK)
				s.redeploy(t, c.Socket, tt.then(t, s))
				status, isNew := s.status(t, client, host)
				is.Equal(status, tt.want)
				is.True(!isNew) // it came over the connection that was there
			})
		}
	}
}

// A client of HTTP/1 has no other way to get away from a connection, and one of
// HTTP/2 may have other hosts on it.
func TestMisdirectedRequestEndsAConnectionOfHTTP1Alone(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	s := startSite(t, c)
	both := []string{host, "www.example.com"}
	s.redeploy(t, c.Socket, parachute.Deployment{Hosts: both, TLS: s.files(t, both...)})
	one, two := s.clients(t)["HTTP/1.1"], s.clients(t)["HTTP/2.0"]
	for _, client := range []*http.Client{one, two} {
		status, _ := s.status(t, client, host)
		is.Equal(status, http.StatusOK)
	}
	s.redeploy(t, c.Socket, parachute.Deployment{Hosts: []string{host}, TLS: s.files(t, host)})
	for client, closed := range map[*http.Client]bool{one: true, two: false} {
		status, isNew := s.status(t, client, "www.example.com")
		is.Equal(status, http.StatusMisdirectedRequest)
		is.True(!isNew)
		status, isNew = s.status(t, client, host)
		is.Equal(status, http.StatusOK)
		is.Equal(isNew, closed)
	}
}
