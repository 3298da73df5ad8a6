//go:build amd64 || arm64

package socket

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// A Queue is that of a socket which listens: there clients wait until they are accepted.
type Queue struct {
	sys   syscall.RawConn
	bound *net.TCPAddr
	step  func(fd uintptr) (done bool)

	// For step, within Accept.
	fd   int
	from syscall.RawSockaddrAny
	err  error
}

// NewQueue returns the Queue of a socket that listens on an address.
func NewQueue(listening syscall.RawConn, on *net.TCPAddr) *Queue {
	q := &Queue{sys: listening, bound: on}
	q.step = q.accept
	return q
}

// Accept returns the connection of the next client. It waits for one as calls of the
// socket wait, and returns the errors that these return. It is called by one goroutine at
// a time.
func (q *Queue) Accept() (*Accepted, error) {
	if err := q.sys.Read(q.step); err != nil {
		return nil, err
	}
	if q.err != nil {
		return nil, os.NewSyscallError("accept4", q.err)
	}
	a := &Accepted{fd: q.fd, bound: q.bound}
	a.remote = tcpAddr(&q.from, &a.ip)
	return a, nil
}

// accept accepts the next client that has not left again.
func (q *Queue) accept(fd uintptr) (done bool) {
	for {
		size := uint32(unsafe.Sizeof(q.from))
		n, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&q.from)), uintptr(unsafe.Pointer(&size)),
			syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			q.fd, q.err = int(n), nil
			return true
		case syscall.EINTR, syscall.ECONNABORTED:
		case syscall.EAGAIN:
			return false
		default:
			q.err = errno
			return true
		}
	}
}

// askLocal asks the system for the address of the socket.
func (a *Accepted) askLocal() *net.TCPAddr {
	var at syscall.RawSockaddrAny
	var errno syscall.Errno
	err := (*rawAccepted)(a).Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(at))
		_, _, errno = syscall.RawSyscall(syscall.SYS_GETSOCKNAME, fd, uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&size)))
	})
	if err != nil || errno != 0 {
		return a.bound
	}
	addr := tcpAddr(&at, new([16]byte))
	return &addr
}

// closeNow closes a socket. That does not wait: what was not sent yet the system sends
// by itself.
func closeNow(fd int) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0); errno != 0 {
		return os.NewSyscallError("close", errno)
	}
	return nil
}

// tcpAddr returns an address that the system tells, which has its IP in ip.
func tcpAddr(at *syscall.RawSockaddrAny, ip *[16]byte) (addr net.TCPAddr) {
	switch at.Addr.Family {
	case syscall.AF_INET:
		in := (*syscall.RawSockaddrInet4)(unsafe.Pointer(at))
		addr.IP = ip[:copy(ip[:], in.Addr[:])]
		addr.Port = port(&in.Port)
	case syscall.AF_INET6:
		in := (*syscall.RawSockaddrInet6)(unsafe.Pointer(at))
		addr.IP = ip[:copy(ip[:], in.Addr[:])]
		addr.Port = port(&in.Port)
		addr.Zone = zone(in.Scope_id)
	}
	return addr
}

// port returns a port that is in the order of the network.
func port(p *uint16) int {
	b := (*[2]byte)(unsafe.Pointer(p))
	return int(b[0])<<8 | int(b[1])
}

// zone returns the zone of an address with that scope.
func zone(scope uint32) string {
	if scope == 0 {
		return ""
	}
	if i, err := net.InterfaceByIndex(int(scope)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(scope), 10)
}
