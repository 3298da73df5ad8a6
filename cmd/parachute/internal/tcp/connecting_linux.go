package tcp

import (
	"encoding/binary"
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// isConnecting reports whether there are clients of the port that addr has which have begun
// to connect, and are not in the queue of the socket yet: their last packet is under way, or
// they have sent nothing and are put off (see deferAccept). If the system does not tell, it
// reports true.
func isConnecting(addr net.Addr) bool {
	at, ok := addr.(*net.TCPAddr)
	if !ok {
		return false
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if found, err := hasSynReceived(family, at.Port); found || err != nil {
			return true
		}
	}
	return false
}

// The request for sockets of a system, a struct nlmsghdr and a struct inet_diag_req_v2, and
// what of it is not zero.
const (
	diagRequestSize = 72
	diagFamilyAt    = 16
	diagProtocolAt  = 17
	diagStatesAt    = 20
	diagPortAt      = 24
)

var errNoDiag = errors.New("the system does not tell of its sockets")

// hasSynReceived reports whether a connection to one of our ports is in the state
// SYN-RECEIVED.
func hasSynReceived(family uint8, port int) (bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return false, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	var b [4 << 10]byte
	request := b[:diagRequestSize]
	native := binary.NativeEndian
	native.PutUint32(request, diagRequestSize)
	native.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[diagFamilyAt], request[diagProtocolAt] = family, unix.IPPROTO_TCP
	native.PutUint32(request[diagStatesAt:], 1<<unix.BPF_TCP_SYN_RECV)
	binary.BigEndian.PutUint16(request[diagPortAt:], uint16(port))
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, os.NewSyscallError("sendto", err)
	}
	n, _, err := unix.Recvfrom(fd, b[:], 0)
	if err != nil {
		return false, os.NewSyscallError("recvfrom", err)
	}
	if n < unix.SizeofNlMsghdr {
		return false, errNoDiag
	}
	switch native.Uint16(b[4:]) { // the first message says whether there is another
	case unix.SOCK_DIAG_BY_FAMILY:
		return true, nil
	case unix.NLMSG_DONE:
		return false, nil
	}
	return false, errNoDiag
}
