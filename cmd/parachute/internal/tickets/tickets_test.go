package tickets_test

import (
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/tickets"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A client connects to servers of one name, and resumes its session where it can.
type client struct {
	t      *testing.T
	ca     *proxytest.CA
	config *tls.Config
}

func newClient(t *testing.T) *client {
	ca := proxytest.NewCA()
	return &client{t, ca, &tls.Config{
		RootCAs: ca.Pool(), ServerName: "web.test", ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}}
}

// resumes connects to a server that uses k, and reports whether the session is the one
// from before.
func (c *client) resumes(k *tickets.Keys) bool {
	c.t.Helper()
	served := &tls.Config{Certificates: []tls.Certificate{c.ca.Issue("web.test")}}
	k.Use(served)
	near, far := net.Pipe()
	go func() {
		server := tls.Server(far, served.Clone())
		server.Write([]byte{0})
		server.Close()
	}()
	conn := tls.Client(near, c.config)
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil { // the ticket comes before
		c.t.Fatal(err)
	}
	return conn.ConnectionState().DidResume
}

func TestTicketsOfOneProcessAreOpenedByTheNext(t *testing.T) {
	is := is.New(t)
	c := newClient(t)
	first := tickets.New(nil)
	is.True(!c.resumes(first))
	is.True(c.resumes(tickets.New(first.Keys())))
	is.True(c.resumes(first)) // and the other way, while both serve
	is.True(!c.resumes(tickets.New(nil)))
	is.True(!c.resumes(tickets.New([][]byte{[]byte("too short")})))
}

func TestKeysAreReplacedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := newClient(t)
		k := tickets.New(nil)
		is.True(!c.resumes(k))
		before := k.Keys()
		time.Sleep(25 * time.Hour)
		is.True(c.resumes(k))
		after := k.Keys()
		is.Equal(len(after), 2)
		is.Equal(after[1], before[0]) // it makes no tickets any more
		for range 9 {
			time.Sleep(25 * time.Hour)
			is.True(c.resumes(k))
		}
		is.True(!c.resumes(tickets.New(before))) // what it made was replaced
		is.True(len(k.Keys()) <= 9)              // they are bounded
	})
}
