package socket

import (
	"syscall"
	"unsafe"
)

// A pollFD is a struct pollfd of the system.
type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

// What is polled for and found.
const (
	pollErr       = 0x8
	pollHup       = 0x10
	pollPeerEnded = 0x2000 // POLLRDHUP
)

// hangup reports whether the peer of a socket has closed the connection or its side
// of it, even if there is still something to read, and whether the connection is
// broken.
func hangup(fd uintptr) (ended, broken bool) {
	p := pollFD{fd: int32(fd), events: pollPeerEnded}
	var atOnce syscall.Timespec
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&atOnce)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return false, false
	}
	broken = p.revents&(pollErr|pollHup) != 0
	return broken || p.revents&pollPeerEnded != 0, broken
}

// The beginning of a struct tcp_info of the system, in words.
const (
	infoWords    = 16
	lastDataRecv = 13 // ms since the last bytes have arrived
	lastAckRecv  = 14 // ms since the last acknowledgement has
)

// alongTime is how long after the last bytes of a peer the end may arrive that was sent
// along with them, or right behind, in ms.
const alongTime = 10

// endedWithData reports whether the peer of a socket of TCP closed its side when it sent
// its last bytes. The end comes by itself or with bytes; an acknowledgement comes with
// either.
func endedWithData(fd uintptr) bool {
	var info [infoWords]uint32
	size := uint32(unsafe.Sizeof(info))
	errno := getsockopt(fd, syscall.IPPROTO_TCP, syscall.TCP_INFO, unsafe.Pointer(&info), &size)
	return errno == 0 && size == uint32(unsafe.Sizeof(info)) && info[lastDataRecv]-info[lastAckRecv] <= alongTime
}
