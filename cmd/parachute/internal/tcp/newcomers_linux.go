package tcp

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// dropNewcomers is a filter that sees what the network brings for a socket, beginning
// with the TCP header. It drops packets with SYN and without ACK, which begin a
// connection, and lets all others pass: those that complete one, and those of the
// connections themselves, which inherit the filter.
var dropNewcomers = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},        // the flags
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},     // SYN and ACK
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 2, Jf: 1}, // SYN alone
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
}

// ignoreNewcomers has the system ignore clients that begin to connect to l, and reports
// whether it does. If it does not, they may be reset when l is closed.
func ignoreNewcomers(l syscall.Conn) bool {
	program := unix.SockFprog{Len: uint16(len(dropNewcomers)), Filter: &dropNewcomers[0]}
	return control(l, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	}) == nil
}
