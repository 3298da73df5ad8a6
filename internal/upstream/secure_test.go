package upstream_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A secureTarget is a server that speaks TLS, and how it is reached.
type secureTarget struct {
	net    proxytest.Net
	server *proxytest.Backend
	o      upstream.Options
}

// newSecureTarget starts a server that offers protocols.
func newSecureTarget(t *testing.T, protocols []string, handler http.HandlerFunc) *secureTarget {
	g := new(secureTarget)
	ca := proxytest.NewCA()
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue("app.test")}, NextProtos: protocols}
	g.server = g.net.ServeTLS(t, "127.0.0.1:0", config, handler)
	g.o = upstream.Options{Network: "tcp", Address: g.server.Addr(), Dial: g.net.Dial,
		TLS: &tls.Config{RootCAs: ca.Pool(), ServerName: "app.test"}}
	return g
}

// call returns a request as a gRPC client sends it.
func call() *http.Request {
	r := post("x")
	r.ProtoMajor, r.Header = 2, http.Header{"Content-Type": {"application/grpc"}}
	return r
}

func TestSecureCarriesCallsOverHTTP2AndAllElseOverHTTP1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newSecureTarget(t, []string{"h2", "http/1.1"}, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
		s := upstream.NewSecure(g.o)
		defer s.Close()
		for _, exchange := range []func(*http.Request, string, field.View, func(int, http.Header)) (*http.Response, error){s.Exchange, s.NewExchanges().Exchange} {
			for want, r := range map[string]*http.Request{"HTTP/2.0": call(), "HTTP/1.1": post("x")} {
				protocol, err := readAll(exchange(r, "/", field.ViewOf(r.Header), nil))
				is.NoErr(err)
				is.Equal(protocol, want)
			}
		}
		synctest.Wait()
		is.Equal(g.net.Dials(g.server.Addr()), 2) // one for each
		s.CloseIdle()
		synctest.Wait()
		is.Equal(g.net.Conns(g.server.Addr()), 0)
	})
}

func TestTargetWithoutHTTP2OverTLSIsSaidToHaveNone(t *testing.T) {
	for name, tt := range map[string]struct {
		protocols []string
		host      string
		none      bool
	}{
		"refuses it":          {[]string{"http/1.1"}, "app.test", true},
		"knows no protocols":  {nil, "app.test", true},
		"is another":          {[]string{"h2"}, "other.test", false},
		"has what is asked":   {[]string{"h2"}, "app.test", false},
		"is another, refuses": {[]string{"http/1.1"}, "other.test", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newSecureTarget(t, tt.protocols, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
				g.o.TLS.ServerName = tt.host
				p := upstream.NewH2C(g.o)
				defer p.Close()
				protocol, err := readAll(p.Exchange(call(), "/", field.View{}, nil))
				is.Equal(errors.Is(err, upstream.ErrNoHTTP2), tt.none)
				if !tt.none && tt.host == "app.test" {
					is.NoErr(err)
					is.Equal(protocol, "HTTP/2.0")
					return
				}
				why, repeatable := reason(err)
				is.Equal(why, upstream.Dial)
				is.True(repeatable)
				var mismatch *tls.CertificateVerificationError
				is.Equal(errors.As(err, &mismatch), !tt.none)
				is.Equal(g.net.Conns(g.server.Addr()), 0) // the connection is closed
			})
		})
	}
}

// A grouper is a Pool, an H2C or a Secure.
type grouper interface {
	NewExchanges() *upstream.Exchanges
	Close()
}

func TestCutRequestsTellsHowManyItEnded(t *testing.T) {
	for name, open := range map[string]func(upstream.Options) grouper{
		"Pool":   func(o upstream.Options) grouper { return upstream.New(o) },
		"H2C":    func(o upstream.Options) grouper { return upstream.NewH2C(o) },
		"Secure": func(o upstream.Options) grouper { return upstream.NewSecure(o) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newSecureTarget(t, []string{"h2", "http/1.1"}, func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					select {
					case <-time.After(time.Minute):
					case <-r.Context().Done():
					}
				})
				p := open(g.o)
				defer p.Close()
				group, other := p.NewExchanges(), p.NewExchanges()
				ended, spared := make(chan error, 5), make(chan error, 2)
				ask := func(g *upstream.Exchanges, results chan error, r *http.Request) {
					_, err := readAll(g.Exchange(r, "/", field.ViewOf(r.Header), nil))
					results <- err
				}
				for _, r := range []*http.Request{call(), call(), post("x"), post("x"), post("x")} {
					go ask(group, ended, r)
				}
				go ask(other, spared, call())
				go ask(other, spared, post("x"))
				time.Sleep(time.Second)
				is.Equal(group.CutRequests(), int64(5))
				for range 5 {
					why, repeatable := reason(<-ended)
					is.Equal(why, upstream.Cut)
					is.True(!repeatable) // the target may act on it
				}
				is.Equal(group.CutRequests(), int64(0)) // no more
				is.NoErr(<-spared)
				is.NoErr(<-spared)
			})
		})
	}
}
