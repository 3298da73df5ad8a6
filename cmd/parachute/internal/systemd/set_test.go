package systemd_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/systemd"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// fileOf returns the file of something that the test listens with.
func fileOf(t *testing.T, opened any, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.(interface{ Close() error }).Close() })
	f, err := opened.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func tcpFile(t *testing.T, address string) (*os.File, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	f := fileOf(t, l, err)
	at := l.Addr().(*net.TCPAddr).AddrPort()
	return f, netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

func udpFile(t *testing.T, address string) (*os.File, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	f := fileOf(t, c, err)
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return f, netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

func unixFile(t *testing.T) (*os.File, string) {
	t.Helper()
	path := filepath.Join(proxytest.ShortDir(t), "s")
	l, err := net.Listen("unix", path)
	return fileOf(t, l, err), path
}

func assigned(t *testing.T, places []systemd.Place, sockets ...systemd.Socket) *systemd.Set {
	t.Helper()
	s, err := systemd.NewSet(sockets...)
	t.Cleanup(s.Close)
	if err == nil {
		err = s.Assign(places)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSocketsGoToThePlacesThatTheyAreBoundTo(t *testing.T) {
	is := is.New(t)
	first, at := tcpFile(t, "127.0.0.1:0")
	second, alsoAt := tcpFile(t, "127.0.0.1:0")
	quic, quicAt := udpFile(t, "127.0.0.1:0")
	commands, path := unixFile(t)
	places := []systemd.Place{
		{Name: systemd.HTTP, Address: at}, {Name: systemd.HTTP, Address: alsoAt},
		{Name: systemd.HTTP3, Address: quicAt}, {Name: systemd.Control, Path: path},
		{Name: systemd.Metrics, Address: at},
	}
	s := assigned(t, places,
		systemd.Socket{Name: systemd.HTTP, File: second}, // in another order
		systemd.Socket{Name: systemd.Control, File: commands},
		systemd.Socket{Name: systemd.HTTP3, File: quic},
		systemd.Socket{Name: systemd.HTTP, File: first},
	)
	for i, want := range []netip.AddrPort{at, alsoAt} {
		is.Equal(boundTo(t, s.Take(places[i])), want.String())
	}
	is.Equal(boundTo(t, s.Take(places[2])), quicAt.String())
	is.Equal(boundTo(t, s.Take(places[3])), path)
	is.Equal(s.Take(places[4]), nil) // nobody gave one for that place
	is.Equal(s.Take(places[0]), nil) // each is given away once
}

// boundTo returns the address of a socket, which it closes.
func boundTo(t *testing.T, f *os.File) string {
	t.Helper()
	defer f.Close()
	if l, err := net.FileListener(f); err == nil {
		defer l.Close()
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		return l.Addr().String()
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// Where no address is asked for, [::] and 0.0.0.0 are both every address, and the very
// address goes before one that fits as well.
func TestEveryAddressIsThatOfEitherFamily(t *testing.T) {
	is := is.New(t)
	f, at := tcpFile(t, "0.0.0.0:0")
	place := systemd.Place{Name: systemd.HTTP, Address: netip.AddrPortFrom(netip.Addr{}, at.Port())}
	s := assigned(t, []systemd.Place{place}, systemd.Socket{Name: systemd.HTTP, File: f})
	is.Equal(boundTo(t, s.Take(place)), at.String())
}

func TestPortZeroIsAnyPort(t *testing.T) {
	is := is.New(t)
	free, _ := tcpFile(t, "127.0.0.1:0")
	named, at := tcpFile(t, "127.0.0.1:0")
	places := []systemd.Place{
		{Name: systemd.HTTP, Address: netip.MustParseAddrPort("127.0.0.1:0")},
		{Name: systemd.HTTP, Address: at},
	}
	s := assigned(t, places, systemd.Socket{Name: systemd.HTTP, File: named}, systemd.Socket{Name: systemd.HTTP, File: free})
	is.Equal(boundTo(t, s.Take(places[1])), at.String()) // the one that was named keeps its place
}

func TestErrorsNameTheSocketThatDoesNotFit(t *testing.T) {
	list, at := tcpFile(t, "127.0.0.1:0")
	other, otherAt := tcpFile(t, "127.0.0.1:0")
	datagrams, udpAt := udpFile(t, "127.0.0.1:0")
	commands, path := unixFile(t)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", at.String())
	connection := fileOf(t, conn, err)
	asked := []systemd.Place{{Name: systemd.HTTP, Address: at, Flag: "--http-port 80"}}
	for _, tt := range []struct {
		name, socket string
		file         *os.File
		places       []systemd.Place
		want         []string
	}{
		{"a name that there is not", "web", list, asked, []string{`"web"`, "manager", "want one of http, https, http3, metrics, control"}},
		{"no name", "", list, asked, []string{`the name ""`}},
		{"a UDP socket for http", "http", datagrams, asked, []string{"http: ", "UDP socket at " + udpAt.String(), "is no listening TCP socket"}},
		{"a TCP socket for http3", "http3", list, asked, []string{"listening TCP socket at " + at.String(), "is no UDP socket"}},
		{"a TCP socket for control", "control", list, asked, []string{"is no listening unix socket"}},
		{"a unix socket for metrics", "metrics", commands, asked, []string{"listening unix socket at " + path, "is no listening TCP socket"}},
		{"a file", "http", file, asked, []string{"no socket", "is no listening TCP socket"}},
		{"a connection", "http", connection, asked, []string{"connection at", "is no listening TCP socket", "Accept=no"}},
		{"another address", "http", other, asked, []string{otherAt.String(), "is not where the flags ask for (--http-port 80)"}},
		{"another path", "control", commands, []systemd.Place{{Name: "control", Path: "/run/x", Flag: "--socket /run/x"}}, []string{path, "(--socket /run/x)"}},
		{"nothing that asks for it", "metrics", list, asked, []string{"is not asked for: start with --metrics-port"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			// Each closes what it gets, which the others need.
			s, err := systemd.NewSet(systemd.Socket{Name: tt.socket, File: dup(t, tt.file), By: "manager"})
			if err == nil {
				defer s.Close()
				err = s.Assign(tt.places)
			}
			is.True(err != nil) // it does not fit
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q\n\thas no %q", err, want)
				}
			}
		})
	}
}

func TestTwoSocketsForOnePlaceAreOneTooMany(t *testing.T) {
	is := is.New(t)
	f, at := tcpFile(t, "127.0.0.1:0")
	places := []systemd.Place{{Name: systemd.Metrics, Address: at, Flag: "--metrics-port 9"}}
	s, err := systemd.NewSet(systemd.Socket{Name: systemd.Metrics, File: f}, systemd.Socket{Name: systemd.Metrics, File: dup(t, f)})
	is.NoErr(err)
	defer s.Close()
	err = s.Assign(places)
	is.True(err != nil && strings.Contains(err.Error(), "leave one of them out")) // which of both would it be?
}

// A manager shares its sockets with the process: what is asked of the one must not make
// the other wait in its system calls.
func TestLookingAtASocketLeavesItNonBlocking(t *testing.T) {
	is := is.New(t)
	f, at := tcpFile(t, "127.0.0.1:0")
	assigned(t, []systemd.Place{{Name: systemd.HTTP, Address: at}}, systemd.Socket{Name: systemd.HTTP, File: nonBlocking(t, f)})
	is.True(isNonBlocking(t, f))
}

func TestASetThatIsNilIsEmpty(t *testing.T) {
	is := is.New(t)
	var s *systemd.Set
	is.NoErr(s.Assign(nil))
	is.Equal(s.Take(systemd.Place{}), nil)
	s.Close()
}

func TestCloseClosesWhatNobodyHasTaken(t *testing.T) {
	is := is.New(t)
	f, _ := tcpFile(t, "127.0.0.1:0")
	s, err := systemd.NewSet(systemd.Socket{Name: systemd.HTTP, File: f})
	is.NoErr(err)
	s.Close()
	is.True(f.Close() != nil) // closed before
}
