package systemd_test

import (
	"net"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/systemd"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// manager listens as the service manager does, and returns what receives the next
// message.
func manager(t *testing.T) (next func() string) {
	t.Helper()
	path := filepath.Join(proxytest.ShortDir(t), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		t.Helper()
		b := make([]byte, 1<<10)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	is := is.New(t)
	next := manager(t)
	is.NoErr(systemd.Ready("serving"))
	is.Equal(next(), "READY=1\nSTATUS=serving")
	is.NoErr(systemd.Stopping("waiting"))
	is.Equal(next(), "STOPPING=1\nSTATUS=waiting")
	is.NoErr(systemd.Reloading("upgrading"))
	is.True(regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*\nSTATUS=upgrading$`).MatchString(next()))
	is.NoErr(systemd.MainPID(42, "upgraded"))
	is.Equal(next(), "MAINPID=42\nREADY=1\nSTATUS=upgraded")
}

// What is told is of lines, so that a line more would be something more that is told.
func TestStatusIsOneLine(t *testing.T) {
	is := is.New(t)
	next := manager(t)
	is.NoErr(systemd.Ready("a\nMAINPID=1"))
	is.Equal(next(), "READY=1\nSTATUS=a MAINPID=1")
}

func TestWithoutAServiceManagerNobodyIsTold(t *testing.T) {
	is := is.New(t)
	t.Setenv("NOTIFY_SOCKET", "")
	is.NoErr(systemd.Ready("serving"))
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	is.True(systemd.Ready("serving") != nil) // and one that is not there is an error
}

func TestWithoutActivationThereAreNoSockets(t *testing.T) {
	is := is.New(t)
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", "1") // they are another process's
	set, err := systemd.Sockets(nil)
	is.NoErr(err)
	set.Close()
}
