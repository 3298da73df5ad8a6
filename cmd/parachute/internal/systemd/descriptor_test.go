package systemd_test

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// dup returns another descriptor of f.
func dup(t *testing.T, f *os.File) *os.File {
	t.Helper()
	var copied *os.File
	onDescriptor(t, f, func(fd int) error {
		n, err := syscall.Dup(fd)
		copied = os.NewFile(uintptr(n), "")
		return err
	})
	return copied
}

// nonBlocking makes f non-blocking, and returns another descriptor of it.
func nonBlocking(t *testing.T, f *os.File) *os.File {
	t.Helper()
	onDescriptor(t, f, func(fd int) error { return syscall.SetNonblock(fd, true) })
	return dup(t, f)
}

func isNonBlocking(t *testing.T, f *os.File) (is bool) {
	t.Helper()
	onDescriptor(t, f, func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		is = flags&unix.O_NONBLOCK != 0
		return err
	})
	return is
}

func onDescriptor(t *testing.T, f *os.File, do func(fd int) error) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if controlErr := raw.Control(func(fd uintptr) { err = do(int(fd)) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
}
