package socket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hangup reports whether the peer of a socket has closed the connection or its side
// of it, even if there is still something to read, and whether the connection is
// broken.
func hangup(fd uintptr) (ended, broken bool) {
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP}
	var atOnce unix.Timespec
	n, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&atOnce)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return false, false
	}
	broken = p.Revents&(unix.POLLERR|unix.POLLHUP) != 0
	return broken || p.Revents&unix.POLLRDHUP != 0, broken
}

// alongTime is how long after the last bytes of a peer the end may arrive that was sent
// along with them, or right behind.
const alongTime = 10 // ms

// endedWithData reports whether the peer of a socket of TCP closed its side when it sent
// its last bytes. The end comes by itself or with bytes; an acknowledgement comes with
// either.
func endedWithData(fd uintptr) bool {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.Last_data_recv-info.Last_ack_recv <= alongTime
}
