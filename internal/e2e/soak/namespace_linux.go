package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// exitNoNamespaces is what a soak in namespaces ends with that cannot furnish them.
const exitNoNamespaces = 70

// diskSize is that of the disk which holds the state of the proxy, and its spool.
const diskSize = "48m"

// enter runs the soak in user, mount and network namespaces of its own, and returns its
// exit code. There it may mount a small disk, which can be full, and have a name server
// at port 53. An error says why that cannot be; nothing has been done then.
func enter(ctx context.Context, o options, stdout, stderr io.Writer) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{roleInside}, o.args()...)...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * patience
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Setpgid:     true,
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = cmd.Wait()
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whatever it has left behind
	switch code := cmd.ProcessState.ExitCode(); code {
	case exitNoNamespaces:
		return 0, errors.New("they cannot be furnished")
	case -1:
		fmt.Fprintln(stderr, "soak:", err)
		return 1, nil
	default:
		return code, nil
	}
}

// furnish brings up what the soak needs in its namespaces: the loopback interface, a
// disk at data, and a resolv.conf that names server.
func furnish(dir, data, server string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount /: %w", err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "mode=0700,size="+diskSize); err != nil {
		return fmt.Errorf("mount %s: %w", data, err)
	}
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+server+"\noptions timeout:1\n"), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(resolv, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /etc/resolv.conf: %w", err)
	}
	return upLoopback()
}

func upLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// adoptOrphans has processes whose parents end become children of this one, so that it
// can wait for a proxy which another has started in its own place.
func adoptOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }
