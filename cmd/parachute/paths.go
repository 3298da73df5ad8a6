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

// defaultPaths tell where a proxy keeps its state and its control socket. They
// follow from who runs it, never from what happens to be writable: a proxy
// that cannot write to its place does not start, rather than forget elsewhere
// what it was told.
//
// For uid 0 that is /var/lib/parachute and /run/parachute. For others it is
// parachute below $XDG_STATE_HOME (or ~/.local/state) and $XDG_RUNTIME_DIR;
// without the latter, parachute-UID in the temporary directory, which must be
// a folder of theirs that nobody else may enter.
type defaultPaths struct {
	uid    int
	getenv func(string) string
}

const (
	systemDataDir = "/var/lib/parachute"
	systemSocket  = "/run/parachute/" + socketName
	socketName    = "parachute.sock"
)

// dataDir returns the folder of the state of a proxy that this user runs.
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

// socket returns the control socket of a proxy that this user runs. If it is
// in the temporary directory, its folder is made, or refused.
func (p defaultPaths) socket() (string, error) {
	path, temporary := p.socketPath()
	if !temporary {
		return path, nil
	}
	return path, makePrivate(filepath.Dir(path), p.uid)
}

// sockets returns the control sockets that a command of this user tries, in
// order: the system's, and that of a proxy of their own.
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

// folder returns the folder that a variable names. The XDG specification has a
// relative one ignored.
func (p defaultPaths) folder(variable string) string {
	if dir := p.getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	return ""
}

// makePrivate makes a folder for a user alone, or reports why the one that is
// there is none.
func makePrivate(dir string, uid int) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkPrivate(dir, uid)
}

// checkPrivate reports what is wrong with a folder in a directory where anybody
// may have made one of that name.
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
