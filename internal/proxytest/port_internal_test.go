package proxytest

import (
	"io"
	"net"
	"testing"

	"github.com/matryer/is"
)

func TestPortThatSomebodyUsesOrHasReservedIsNotReserved(t *testing.T) {
	is := is.New(t)
	port, release, err := ReservePort()
	is.NoErr(err)
	_, ok := reserve(port)
	is.True(!ok) // it is reserved
	release()
	for network, use := range map[string]func(address string) (io.Closer, error){
		"tcp": func(address string) (io.Closer, error) { return net.Listen("tcp", address) },
		"udp": func(address string) (io.Closer, error) { return net.ListenPacket("udp", address) },
	} {
		t.Run(network, func(t *testing.T) {
			is := is.New(t)
			used, err := use(localAddress(port))
			is.NoErr(err)
			_, ok := reserve(port)
			is.True(!ok)
			is.NoErr(used.Close())
			release, ok := reserve(port)
			is.True(ok) // nothing is held of what was refused
			release()
		})
	}
}
