package systemd

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
)

// A kind is what a descriptor is.
type kind string

const (
	tcpListener  kind = "listening TCP socket"
	udp          kind = "UDP socket"
	unixListener kind = "listening unix socket"
	connection   kind = "connection"
	otherSocket  kind = "socket of another kind"
	noSocket     kind = "no socket"
)

// An identity is what the system says about a descriptor.
type identity struct {
	kind       kind
	descriptor int
	address    netip.AddrPort // unmapped
	path       string         // of a unix socket
}

// identify asks the system what f is. It does not call f.Fd, which may make the socket
// blocking, for all processes that share it.
func identify(f *os.File) identity {
	id := identity{kind: noSocket, descriptor: -1}
	raw, err := f.SyscallConn()
	if err != nil {
		return id
	}
	_ = raw.Control(func(fd uintptr) {
		id = identifySocket(int(fd))
		id.descriptor = int(fd)
	})
	return id
}

// identifySocket asks the system what a descriptor is.
func identifySocket(fd int) identity {
	typ, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil {
		return identity{kind: noSocket}
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return identity{kind: otherSocket}
	}
	accepts, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	listens := err == nil && accepts != 0
	id := identity{kind: otherSocket}
	switch at := bound.(type) {
	case *syscall.SockaddrInet4:
		id.address = netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
	case *syscall.SockaddrInet6:
		id.address = netip.AddrPortFrom(netip.AddrFrom16(at.Addr).Unmap(), uint16(at.Port))
	case *syscall.SockaddrUnix:
		id.path = at.Name
		if typ == syscall.SOCK_STREAM {
			id.kind = streamKind(unixListener, listens)
		}
		return id
	default:
		return id
	}
	switch typ {
	case syscall.SOCK_STREAM:
		id.kind = streamKind(tcpListener, listens)
	case syscall.SOCK_DGRAM:
		id.kind = udp
	}
	return id
}

// streamKind returns listener for one that listens.
func streamKind(listener kind, listens bool) kind {
	if listens {
		return listener
	}
	return connection
}

func (i identity) String() string {
	switch {
	case i.path != "":
		return fmt.Sprintf("%s at %s", i.kind, i.path)
	case i.address.IsValid():
		return fmt.Sprintf("%s at %s", i.kind, i.address)
	}
	return string(i.kind)
}
