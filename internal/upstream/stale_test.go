package upstream_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A renewable is what is tested of a Pool and of an H2C alike.
type renewable interface {
	Exchange(r *http.Request, target string, header field.View, interim func(status int, h http.Header)) (*http.Response, error)
	CloseStale()
	Close()
}

// A move is a target whose name leads to another machine at some time. Each of
// them answers with its address.
type move struct {
	renewable
	net     proxytest.Net
	current atomic.Value // of the netip.Addr that the name leads to
}

const (
	oldMachine = "10.0.0.1:3000"
	newMachine = "10.0.0.2:3000"
)

func newMove(t *testing.T, open func(upstream.Options) renewable) *move {
	m := new(move)
	m.leadTo(oldMachine)
	for _, address := range []string{oldMachine, newMachine} {
		l, err := m.net.Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			w.(http.Flusher).Flush()
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, address)
		})}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		done := make(chan struct{})
		go func() {
			defer close(done)
			server.Serve(l)
		}()
		t.Cleanup(func() {
			server.Close()
			<-done
		})
	}
	m.renewable = open(upstream.Options{
		Network: "tcp",
		Address: "web:3000",
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return m.net.Dial(ctx, network, net.JoinHostPort(m.current.Load().(netip.Addr).String(), "3000"))
		},
		IsCurrent: func(addr netip.Addr) bool { return addr == m.current.Load() },
	})
	t.Cleanup(m.Close)
	return m
}

func (m *move) leadTo(address string) { m.current.Store(netip.MustParseAddrPort(address).Addr()) }

// ask returns what a request with a body is answered.
func (m *move) ask(body io.Reader) (string, error) {
	return readAll(m.Exchange(request("PUT", body, -1), "/", field.View{}, nil))
}

func testMoves(t *testing.T, test func(*testing.T, *move)) {
	for name, open := range map[string]func(upstream.Options) renewable{
		"Pool": func(o upstream.Options) renewable { return upstream.New(o) },
		"H2C":  func(o upstream.Options) renewable { return upstream.NewH2C(o) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newMove(t, open)) })
		})
	}
}

func TestConnectionToAnAddressThatIsNotCurrentIsNotUsedAgain(t *testing.T) {
	testMoves(t, func(t *testing.T, m *move) {
		is := is.New(t)
		for range 2 {
			answer, err := m.ask(http.NoBody)
			is.NoErr(err)
			is.Equal(answer, oldMachine)
			synctest.Wait()
		}
		is.Equal(m.net.Dials(oldMachine), 1) // its connection is used again while it is current
		m.leadTo(newMachine)
		for range 2 {
			answer, err := m.ask(http.NoBody)
			is.NoErr(err)
			is.Equal(answer, newMachine)
			synctest.Wait()
		}
		is.Equal(m.net.Conns(oldMachine), 0)
		is.Equal(m.net.Dials(newMachine), 1)
	})
}

func TestCloseStaleClosesWhatIsNotCurrent(t *testing.T) {
	testMoves(t, func(t *testing.T, m *move) {
		is := is.New(t)
		_, err := m.ask(http.NoBody)
		is.NoErr(err)
		synctest.Wait()
		m.CloseStale()
		is.Equal(m.net.Conns(oldMachine), 1) // it is current
		m.leadTo(newMachine)
		m.CloseStale()
		is.Equal(m.net.Conns(oldMachine), 0)
	})
}

func TestExchangeGoesOnWhereItsAddressIsNotCurrentAnyMore(t *testing.T) {
	testMoves(t, func(t *testing.T, m *move) {
		is := is.New(t)
		r, w := io.Pipe()
		resp, err := m.Exchange(request("PUT", r, -1), "/", field.View{}, nil)
		is.NoErr(err)
		m.leadTo(newMachine)
		m.CloseStale()
		answer, err := m.ask(http.NoBody) // beside it
		is.NoErr(err)
		is.Equal(answer, newMachine)
		is.Equal(m.net.Conns(oldMachine), 1)

		w.Close()
		answer, err = readAll(resp, nil)
		is.NoErr(err)
		is.Equal(answer, oldMachine)
		synctest.Wait()
		is.Equal(m.net.Conns(oldMachine), 0) // its connection is not kept
		is.Equal(m.net.Conns(newMachine), 1)
	})
}
