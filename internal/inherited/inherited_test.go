package inherited_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/inherited"
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
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	return fileOf(t, l, err), path
}

func assigned(t *testing.T, places []inherited.Place, sockets ...inherited.Socket) *inherited.Set {
	t.Helper()
	s, err := inherited.New(sockets...)
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
	places := []inherited.Place{
		{Name: inherited.HTTP, Address: at}, {Name: inherited.HTTP, Address: alsoAt},
		{Name: inherited.HTTP3, Address: quicAt}, {Name: inherited.Control, Path: path},
		{Name: inherited.Metrics, Address: at},
	}
	s := assigned(t, places,
		inherited.Socket{Name: inherited.HTTP, File: second}, // in another order
		inherited.Socket{Name: inherited.Control, File: commands},
		inherited.Socket{Name: inherited.HTTP3, File: quic},
		inherited.Socket{Name: inherited.HTTP, File: first},
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
	place := inherited.Place{Name: inherited.HTTP, Address: netip.AddrPortFrom(netip.Addr{}, at.Port())}
	s := assigned(t, []inherited.Place{place}, inherited.Socket{Name: inherited.HTTP, File: f})
	is.Equal(boundTo(t, s.Take(place)), at.String())
}

func TestPortZeroIsAnyPort(t *testing.T) {
	is := is.New(t)
	free, _ := tcpFile(t, "127.0.0.1:0")
	named, at := tcpFile(t, "127.0.0.1:0")
	places := []inherited.Place{
		{Name: inherited.HTTP, Address: netip.MustParseAddrPort("127.0.0.1:0")},
		{Name: inherited.HTTP, Address: at},
	}
	s := assigned(t, places, inherited.Socket{Name: inherited.HTTP, File: named}, inherited.Socket{Name: inherited.HTTP, File: free})
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
	asked := []inherited.Place{{Name: inherited.HTTP, Address: at, Flag: "--http-port 80"}}
	for _, tt := range []struct {
		name, socket string
		file         *os.File
		places       []inherited.Place
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
		{"another path", "control", commands, []inherited.Place{{Name: "control", Path: "/run/x", Flag: "--socket /run/x"}}, []string{path, "(--socket /run/x)"}},
		{"nothing that asks for it", "metrics", list, asked, []string{"is not asked for: start with --metrics-port"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			// Each closes what it gets, which the others need.
			s, err := inherited.New(inherited.Socket{Name: tt.socket, File: dup(t, tt.file), By: "manager"})
			defer s.Close()
			if err == nil {
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
	places := []inherited.Place{{Name: inherited.Metrics, Address: at, Flag: "--metrics-port 9"}}
	s, err := inherited.New(inherited.Socket{Name: inherited.Metrics, File: f}, inherited.Socket{Name: inherited.Metrics, File: dup(t, f)})
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
	assigned(t, []inherited.Place{{Name: inherited.HTTP, Address: at}}, inherited.Socket{Name: inherited.HTTP, File: nonBlocking(t, f)})
	is.True(isNonBlocking(t, f))
}

func TestASetThatIsNilIsEmpty(t *testing.T) {
	is := is.New(t)
	var s *inherited.Set
	is.NoErr(s.Assign(nil))
	is.Equal(s.Take(inherited.Place{}), nil)
	s.Close()
}

func TestCloseClosesWhatNobodyHasTaken(t *testing.T) {
	is := is.New(t)
	f, _ := tcpFile(t, "127.0.0.1:0")
	s, err := inherited.New(inherited.Socket{Name: inherited.HTTP, File: f})
	is.NoErr(err)
	s.Close()
	is.True(f.Close() != nil) // closed before
}
