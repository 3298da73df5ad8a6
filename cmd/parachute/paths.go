package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// defaultPaths are the paths of the data directory and of the control socket.
// They depend only on the user who runs the proxy, never on what is writable: a
// proxy that cannot write to its directory does not start, rather than start
// elsewhere without its state.
//
// For uid 0 they are in /var/lib/parachute and /run/parachute. For others they
// are in the folder parachute below $XDG_STATE_HOME (or ~/.local/state) and
// $XDG_RUNTIME_DIR. Without the latter, the socket is in parachute-UID in the
// temporary directory, which must belong to the user and be closed to others.
type defaultPaths struct {
	uid    int
	getenv func(string) string
}

const (
	systemDataDir = "/var/lib/parachute"
	systemSocket  = "/run/parachute/" + socketName
	socketName    = "parachute.sock"
)

// dataDir returns the data directory of a proxy that this user runs.
func (p defaultPaths) dataDir() (string, error) {
	if p.uid == 0 {
		return systemDataDir, nil
	}
	if state := p.folder("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "parachute"), nil
	}
	if home := p.folder("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "parachute"), nil
	}
	return "", errors.New("data directory: neither XDG_STATE_HOME nor HOME is set: name one with --data-dir")
}

// socket returns the control socket of a proxy that this user runs. If it is in
// the temporary directory, socket creates its folder, and returns an error if
// others can enter it.
func (p defaultPaths) socket() (string, error) {
	path, temporary := p.socketPath()
	if !temporary {
		return path, nil
	}
	return path, makePrivate(filepath.Dir(path), p.uid)
}

// sockets returns the control sockets that a command of this user tries in
// order: the system's, and the user's own.
func (p defaultPaths) sockets() ([]string, error) {
	path, temporary := p.socketPath()
	if path == systemSocket {
		return []string{path}, nil
	}
	if temporary {
		if err := checkPrivate(filepath.Dir(path), p.uid); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return []string{systemSocket, path}, nil
}

func (p defaultPaths) socketPath() (path string, temporary bool) {
	if p.uid == 0 {
		return systemSocket, false
	}
	if runtime := p.folder("XDG_RUNTIME_DIR"); runtime != "" {
		return filepath.Join(runtime, "parachute", socketName), false
	}
	dir := fmt.Sprintf("parachute-%d", p.uid)
	return filepath.Join(cmp.Or(p.folder("TMPDIR"), "/tmp"), dir, socketName), true
}

// folder returns the folder that a variable names, or "". It ignores relative
// paths, as the XDG Base Directory Specification requires.
func (p defaultPaths) folder(variable string) string {
	if dir := p.getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	return ""
}

// makePrivate creates a folder that only uid can enter. If dir exists already,
// it returns an error unless dir is such a folder.
func makePrivate(dir string, uid int) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkPrivate(dir, uid)
}

// checkPrivate returns an error unless dir belongs to uid and is closed to
// others: in the temporary directory, anybody may have created it.
func checkPrivate(dir string, uid int) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner := -1
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(stat.Uid)
	}
	if info.Mode() == fs.ModeDir|0o700 && owner == uid {
		return nil
	}
	return fmt.Errorf("%s: is %v of user %d, want a folder of user %d that is closed to others (drwx------): remove it, or name a socket with --socket",
		dir, info.Mode(), owner, uid)
}
