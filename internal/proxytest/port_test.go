package proxytest_test

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestPortIsReservedForOneAtATime(t *testing.T) {
	is := is.New(t)
	reserved := make(map[string]bool)
	for range 300 {
		reserved[proxytest.FreePort(t)] = true
	}
	is.Equal(len(reserved), 300) // although nothing listens at any of them
}

func TestReservedPortIsFreeAndStaysSo(t *testing.T) {
	is := is.New(t)
	address := proxytest.FreeAddress(t)
	for range 2 {
		_, err := net.Dial("tcp", address)
		is.True(errors.Is(err, syscall.ECONNREFUSED))
		l, err := net.Listen("tcp", address)
		is.NoErr(err)
		c, err := net.ListenPacket("udp", address)
		is.NoErr(err)
		is.NoErr(l.Close())
		is.NoErr(c.Close())
	}
}

// Or whoever asks for any port could be given one while nothing listens there.
func TestSystemGivesOutNoReservedPort(t *testing.T) {
	is := is.New(t)
	given, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Skip("what it gives out is not known: ", err)
	}
	lowest, err := strconv.Atoi(strings.Fields(string(given))[0])
	is.NoErr(err)
	if lowest < 20_000 {
		t.Skip("it was told to give out ports from ", lowest, " on")
	}
	port, err := strconv.Atoi(proxytest.FreePort(t))
	is.NoErr(err)
	is.True(port < lowest)
}
