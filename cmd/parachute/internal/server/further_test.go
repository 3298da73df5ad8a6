package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// further returns the addresses of the further listeners, when all are there.
func (p *process) further(t *testing.T, n int) []string {
	t.Helper()
	p.await(t, `"msg":"listening","protocol":"https"`)
	var all []string
	for line := range strings.Lines(p.log.String()) {
		var l struct{ Msg, Protocol, Address string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "listening" && l.Protocol == "http" && l.Address != p.address {
			all = append(all, l.Address)
		}
	}
	if len(all) != n {
		t.Fatalf("it listens on %v as well", all)
	}
	return all
}

// status returns the status of an answer to a GET of / on a host.
func status(t *testing.T, client *http.Client, url, host string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
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
	return res.StatusCode
}

func TestServiceThatAListenerNamesIsServedThereAlone(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	c.Further = []server.FurtherListener{
		{Address: loopback, Services: []string{"admin", "other"}},
		{Address: netip.AddrPort{}},
		{Address: netip.MustParseAddrPort("[::1]:0"), Services: []string{"admin"}},
	}
	s := startSite(t, c)
	addresses := s.further(t, 3)
	is.True(strings.HasPrefix(addresses[1], "127.0.0.1:")) // that of Bind
	is.True(strings.Contains(s.log.String(), `"services":["admin","other"]`))
	commands := &control.Client{Sockets: []string{c.Socket}}
	_, err := commands.Deploy(t.Context(), parachute.Deployment{
		Service: "admin",
		Targets: []string{s.app.Listener.Addr().String()},
		Hosts:   []string{"admin.example.com"},
		TLS:     s.files(t, "admin.example.com"),
	}, nil)
	is.NoErr(err)
	secure := s.clients(t)["HTTP/2.0"]
	secure.Transport.(*http.Transport).TLSClientConfig.ServerName = "" // that of the URL
	for where, want := range map[string][2]int{                        // for admin, and for web
		s.address:    {404, 200},
		addresses[0]: {200, 404},
		addresses[1]: {404, 200},
		addresses[2]: {200, 404},
	} {
		for _, client := range []*http.Client{http.DefaultClient, newH2CClient(t)} {
			is.Equal(status(t, client, "http://"+where, "admin.example.com"), want[0])
			is.Equal(status(t, client, "http://"+where, host), want[1])
		}
	}
	secure.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.secure)
	}
	is.Equal(status(t, secure, "https://admin.example.com/", "admin.example.com"), 404)
	is.Equal(status(t, secure, "https://"+host, host), 200)

	for _, address := range addresses {
		_, err = commands.Deploy(t.Context(), parachute.Deployment{Service: "loop", Targets: []string{address}}, nil)
		is.True(errors.Is(err, parachute.ErrInvalid)) // it leads to the proxy itself
	}
}

func TestStopLetsRequestsOnFurtherListenersFinish(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.Further = []server.FurtherListener{{Address: netip.MustParseAddrPort(proxytest.FreeAddress(t))}}
	s := startSite(t, c)
	address := s.further(t, 1)[0]
	answers := make(chan string, 1)
	go func() {
		r, _ := http.NewRequest("GET", "http://"+address+"/hold", nil)
		r.Host = host
		answers <- answerOf(http.DefaultClient.Do(r))
	}()
	<-s.app.entered
	s.cancel()
	s.await(t, `"msg":"stopping"`)
	s.app.release <- struct{}{}
	is.Equal(<-answers, "200 hello")
	is.NoErr(s.stop(t))
	free, err := net.Listen("tcp", address)
	is.NoErr(err) // the port is given back
	is.NoErr(free.Close())
}

func TestFurtherListenerThatCannotBeHadIsAnError(t *testing.T) {
	is := is.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer taken.Close()
	at := netip.MustParseAddrPort(proxytest.FreeAddress(t))
	c := newConfig(t)
	c.HTTPPort = at.Port()
	c.Further = []server.FurtherListener{{}, {Address: taken.Addr().(*net.TCPAddr).AddrPort()}}
	err = server.Run(t.Context(), c)
	var refused *server.ListenError
	is.True(errors.As(err, &refused))
	is.Equal(refused.Protocol, "--listen")
	is.True(errors.Is(err, syscall.EADDRINUSE))
	free, err := net.Listen("tcp", at.String())
	is.NoErr(err) // nothing is left behind
	is.NoErr(free.Close())
}
