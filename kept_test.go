package parachute_test

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A line is a connection over TLS that is kept between two requests.
type line struct {
	*tls.Conn
	answers *bufio.Reader
}

func (k *keep) line(sni string) *line {
	k.t.Helper()
	conn, err := k.dial(sni)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { conn.Close() })
	return &line{conn, bufio.NewReader(conn)}
}

// get returns the answer to a GET of / on host, and whether the connection is
// kept after it.
func (l *line) get(host string) string {
	fmt.Fprintf(l, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
	resp, err := http.ReadResponse(l.answers, nil)
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	if resp.Close {
		body = append(body, " closed"...)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

// again is secure for a name whose app is there.
func (k *keep) again(name string, t parachute.TLS, hosts ...string) error {
	k.t.Helper()
	return k.Deploy(k.t.Context(), parachute.Deployment{Service: name, Targets: []string{name + ".internal:80"}, Hosts: hosts, TLS: t})
}

const misdirected = "421 421 Misdirected Request\n closed"

func TestKeptConnectionsAreServedAsTheNewestDeploySays(t *testing.T) {
	const before = "200 web"
	for name, tt := range map[string]struct {
		sni   string
		hosts []string // before
		asks  string
		then  func(k *keep) parachute.Deployment
		want  string
	}{
		"TLS is turned off": {
			then: func(k *keep) parachute.Deployment {
				return parachute.Deployment{Hosts: []string{"app.test"}, TLS: parachute.TLS{Mode: parachute.TLSOff}}
			}, want: misdirected,
		},
		"nothing is said of TLS any more": {
			then: func(k *keep) parachute.Deployment { return parachute.Deployment{Hosts: []string{"app.test"}} }, want: misdirected,
		},
		"TLS is turned off, of a client that named no host": {
			sni: "none",
			then: func(k *keep) parachute.Deployment {
				return parachute.Deployment{Hosts: []string{"app.test"}, TLS: parachute.TLS{Mode: parachute.TLSOff}}
			}, want: misdirected,
		},
		"TLS is turned off, of an address": {
			sni: "none", hosts: []string{"192.0.2.1"}, asks: "192.0.2.1",
			then: func(k *keep) parachute.Deployment { return parachute.Deployment{Hosts: []string{"192.0.2.1"}} }, want: misdirected,
		},
		"TLS is turned off, of a wildcard": {
			sni: "x.app.test", hosts: []string{"*.app.test"}, asks: "x.app.test",
			then: func(k *keep) parachute.Deployment { return parachute.Deployment{Hosts: []string{"*.app.test"}} }, want: misdirected,
		},
		"it has another host": {
			then: func(k *keep) parachute.Deployment {
				return parachute.Deployment{Hosts: []string{"new.test"}, TLS: k.files("new.test")}
			}, want: misdirected,
		},
		"it is for every host, without TLS": {
			then: func(k *keep) parachute.Deployment { return parachute.Deployment{} }, want: misdirected,
		},
		"the two hosts of the certificate have one each": {
			hosts: []string{"app.test", "www.app.test"}, sni: "www.app.test",
			then: func(k *keep) parachute.Deployment {
				is := is.New(k.t)
				is.NoErr(k.again("web", k.files("app.test"), "app.test"))
				is.NoErr(k.secure("www", k.files("www.app.test"), "www.app.test"))
				return parachute.Deployment{Hosts: []string{"app.test"}, TLS: k.files("app.test")}
			}, want: misdirected,
		},
		"the client is denied": {
			then: func(k *keep) parachute.Deployment {
				return parachute.Deployment{Hosts: []string{"app.test"}, TLS: k.files("app.test"), Access: parachute.Access{Deny: []string{"127.0.0.1"}}}
			}, want: "403 403 Forbidden\n",
		},
		"the certificate is a newer one": {
			then: func(k *keep) parachute.Deployment {
				return parachute.Deployment{Hosts: []string{"app.test"}, TLS: k.files("app.test")}
			}, want: before,
		},
		"it has another name in front": {
			hosts: []string{"app.test", "www.app.test"},
			then: func(k *keep) parachute.Deployment {
				hosts := []string{"app.test", "www.app.test"}
				return parachute.Deployment{Hosts: hosts, TLS: k.files(hosts...), CanonicalHost: "www.app.test"}
			}, want: "301 301 Moved Permanently\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k := newKeep(t, parachute.Options{})
				if tt.hosts == nil {
					tt.hosts = []string{"app.test"}
				}
				sni := cmp.Or(tt.sni, "app.test")
				if sni == "none" {
					sni = ""
				}
				asked := cmp.Or(tt.asks, "app.test")
				is.NoErr(k.secure("web", k.files(tt.hosts...), tt.hosts...))
				is.NoErr(k.secure("other", k.files("zzz.test"), "zzz.test")) // TLS goes on
				l := k.line(sni)
				is.Equal(l.get(asked), before)
				d := tt.then(k)
				d.Service, d.Targets = "web", []string{"web.internal:80"}
				is.NoErr(k.Deploy(t.Context(), d))
				is.Equal(l.get(asked), tt.want)
			})
		})
	}
}

func TestRemovedServiceIsNotFoundOrMisdirectedOnAKeptConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", k.files("app.test"), "app.test"))
		named, unnamed := k.line("app.test"), k.line("")
		is.Equal(named.get("app.test"), "200 web")
		is.Equal(unnamed.get("app.test"), "200 web")
		is.NoErr(k.Remove(t.Context(), "web"))
		is.Equal(named.get("app.test"), misdirected) // a new connection would be refused
		is.Equal(unnamed.get("app.test"), "404 404 Not Found\n")
	})
}

func TestPausedRequestIsNotServedOverTLSThatIsTurnedOffMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", k.files("app.test"), "app.test"))
		l := k.line("app.test")
		is.Equal(l.get("app.test"), "200 web")
		is.NoErr(k.Pause(t.Context(), "web", parachute.Pause{}))
		answer := make(chan string, 1)
		go func() { answer <- l.get("app.test") }()
		synctest.Wait()
		is.NoErr(k.again("web", parachute.TLS{}, "app.test"))
		is.Equal(<-answer, misdirected) // although it is paused still
	})
}

func TestKeptConnectionForANameOnDemandIsForThatNameAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		demand := parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: "/allowed"}
		is.NoErr(k.secure("web", demand))
		l := k.line("good.test")
		is.Equal(l.get("good.test"), "200 web")
		is.NoErr(k.again("web", demand)) // which knows of no certificate before somebody comes
		is.Equal(l.get("good.test"), "200 web")
		is.Equal(l.get("other.test"), misdirected)
		l = k.line("good.test")
		is.NoErr(k.again("web", parachute.TLS{}))
		is.Equal(l.get("good.test"), misdirected)
	})
}

func TestWhoDoesTLSWithoutTheProxyIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.internal:80")
		is.NoErr(h.deploy("web", "web.internal:80"))
		k := &keep{house: h, ca: proxytest.NewCA()}
		h.net.ServeTLS(t, "proxy.test:443", &tls.Config{Certificates: []tls.Certificate{k.ca.Issue("app.test")}}, h.Proxy).SetHealth(0)
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web") // TLS is none of its business
	})
}

func TestKeyPairIsNotReadOnceItsServiceIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		pair := k.files("app.test")
		is.NoErr(k.secure("web", pair, "app.test"))
		is.NoErr(k.Remove(t.Context(), "web"))
		is.NoErr(os.Remove(pair.CertFile))
		time.Sleep(time.Minute)
		is.True(!k.told("app.test", "")) // whoever removes the service may remove its files
	})
}
