// Package systemd speaks with the service manager of the process: it takes the sockets
// that systemd has opened for it (LISTEN_FDS), and tells systemd how it is doing
// (NOTIFY_SOCKET). Without a service manager its functions do nothing.
package systemd

import (
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// Sockets returns the sockets that systemd has opened for this process, each assigned to
// one of the places. It is an error if one has none, or is not what its name says. It
// removes the variables that tell of them, so that no other process takes them for its
// own. The caller has to close what it does not take.
func Sockets(places []Place) (*Set, error) {
	var sockets []Socket
	for _, f := range activation.Files(true) {
		name := f.Name()
		if strings.HasPrefix(name, "LISTEN_FD_") { // what go-systemd calls those without one
			name = ""
		}
		sockets = append(sockets, Socket{Name: name, File: f, By: "systemd"})
	}
	set, err := NewSet(sockets...)
	if err == nil {
		err = set.Assign(places)
	}
	if err != nil {
		set.Close()
		return nil, fmt.Errorf("socket activation: %w (in the socket unit, FileDescriptorName= gives the name, and ListenStream= or ListenDatagram= the address)", err)
	}
	return set, nil
}

// Ready tells that the process serves, and what: systemctl status shows that. It also
// ends a reload.
func Ready(status string) error { return notify(daemon.SdNotifyReady, "STATUS="+status) }

// Stopping tells that the process is about to end.
func Stopping(status string) error { return notify(daemon.SdNotifyStopping, "STATUS="+status) }

// Reloading tells that a reload has begun, which Ready ends.
func Reloading(status string) error {
	return notify(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()), "STATUS="+status)
}

// MainPID tells that another process is the main one from now on, and that it serves,
// which ends a reload. Only the main process is believed (NotifyAccess=main): what the
// other one says before systemd knows of it goes unheard, so this one says it.
func MainPID(pid int, status string) error {
	return notify(fmt.Sprintf("MAINPID=%d", pid), daemon.SdNotifyReady, "STATUS="+status)
}

// notify sends lines to the service manager, in one message.
func notify(lines ...string) error {
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "\n", " ")
	}
	_, err := daemon.SdNotify(false, strings.Join(lines, "\n"))
	return err
}
