package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestHolderOfAnAddressIsFoundWhereverItIsBound(t *testing.T) {
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	holding := fmt.Sprintf("%s (pid %d), which listens there", strings.TrimSpace(string(name)), os.Getpid())
	for _, test := range []struct{ bound, wanted string }{
		{"127.0.0.1", "127.0.0.1"},
		{"127.0.0.1", "0.0.0.0"},
		{"127.0.0.1", ""},
		{"0.0.0.0", "127.0.0.1"},
		{"0.0.0.0", ""},
		{"::1", "::1"},
		{"::1", "::"},
		{"::1", ""},
		{"::", "::1"},
		{"::", "127.0.0.1"}, // which it takes too
		{"::", ""},
	} {
		t.Run(fmt.Sprintf("%s keeps %q", test.bound, test.wanted), func(t *testing.T) {
			is := is.New(t)
			l, err := net.Listen("tcp", net.JoinHostPort(test.bound, "0"))
			if err != nil {
				t.Skip("there is no such address here: ", err)
			}
			defer l.Close()
			port := l.Addr().(*net.TCPAddr).AddrPort().Port()
			var wanted netip.Addr // of every address, as net has it
			if test.wanted != "" {
				wanted = netip.MustParseAddr(test.wanted)
			}
			found := socketOwner("tcp", netip.AddrPortFrom(wanted, port))
			is.Equal(found, holding)
		})
	}
}

func TestHolderOfAUDPPortIsFound(t *testing.T) {
	is := is.New(t)
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	is.NoErr(err)
	defer c.Close()
	is.True(strings.Contains(socketOwner("udp", c.LocalAddr().(*net.UDPAddr).AddrPort()), fmt.Sprintf("(pid %d)", os.Getpid())))
}

func TestNobodyHoldsAnAddressThatAnotherDoesNotExclude(t *testing.T) {
	is := is.New(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	is.Equal(socketOwner("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at.Port())), "")
	is.Equal(socketOwner("udp", at), "")
}

func TestAddressesOfTheSystemAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000:0050":                         "0.0.0.0:80",
		"00000000000000000000000001000000:01BB": "[::1]:443",
		"B80D01200000000067452301EFCDAB89:0001": "[2001:db8::123:4567:89ab:cdef]:1",
		"0100007F":                              "invalid AddrPort",
		"01:1":                                  "invalid AddrPort",
		"zz:1":                                  "invalid AddrPort",
	} {
		t.Run(text, func(t *testing.T) {
			is := is.New(t)
			got, _ := parseSocketAddress(text)
			is.Equal(got.String(), want)
		})
	}
}
