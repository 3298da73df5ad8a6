package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// A Program is how this process was started, and how the next is.
type Program struct {
	Path string   // absolute, without symbolic links being followed
	Args []string // with the name that it was called by
	Env  []string
}

// ThisProgram returns the Program of this process. If what it was called by leads to
// another file by now, or to none, the Path is that of the file that runs.
func ThisProgram(args, env []string) Program {
	p := Program{Args: args, Env: env}
	executable, err := os.Executable()
	if err == nil {
		p.Path = executable
	}
	called, err := exec.LookPath(args[0])
	if err == nil {
		called, err = filepath.Abs(called)
	}
	// A symbolic link leads to the newest version, when that is installed.
	if err == nil && sameFile(called, executable) {
		p.Path = called
	}
	return p
}

func sameFile(a, b string) bool {
	aInfo, aErr := os.Stat(a)
	bInfo, bErr := os.Stat(b)
	return aErr == nil && bErr == nil && os.SameFile(aInfo, bInfo)
}

// variable tells the new process which descriptor its end of the Link is. It does not
// begin as those of options do.
const variable = "_PARACHUTE_HANDOVER_FD"

// Inherited returns the connection to the process that has started this one to take its
// place, or nil if there is none. env is that of the process.
func Inherited(getenv func(string) string) (Conn, error) {
	value := getenv(variable)
	if value == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q is no descriptor: the variable is for a process that another one starts in its place", variable, value)
	}
	syscall.CloseOnExec(fd)
	return connOf(os.NewFile(uintptr(fd), variable))
}

// A Started is a process that was started to take the place of this one.
type Started struct {
	Link *Link
	PID  int

	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	err   error         // how, then
}

// Start starts p, or the program at path if that is not empty. It returns an error if
// anybody but root and the user of this process could have written the program.
func (p Program) Start(path string) (*Started, error) {
	if path == "" {
		path = p.Path
	}
	if err := checkProgram(path); err != nil {
		return nil, err
	}
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	conn, err := connOf(ours)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Args = p.Args
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(withoutVariable(p.Env), variable+"=3")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	s := &Started{Link: NewLink(conn), PID: cmd.Process.Pid, cmd: cmd, ended: make(chan struct{})}
	go s.wait()
	return s, nil
}

func withoutVariable(env []string) []string {
	var rest []string
	for _, v := range env {
		if name, _, _ := strings.Cut(v, "="); name != variable {
			rest = append(rest, v)
		}
	}
	return rest
}

func (s *Started) wait() {
	s.err = s.cmd.Wait()
	close(s.ended)
}

// Kill ends the process, and returns how it has ended when it has.
func (s *Started) Kill() error {
	s.cmd.Process.Kill()
	<-s.ended
	return s.err
}

// Ended is closed when the process has ended.
func (s *Started) Ended() <-chan struct{} { return s.ended }

// Err returns how the process has ended, once it has.
func (s *Started) Err() error { return s.err }

// pair returns two sockets that are connected.
func pair() (a, b *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "handover"), os.NewFile(uintptr(fds[1]), "handover"), nil
}

// checkProgram returns an error if path is no absolute path of a program, or if somebody
// besides root and the user of this process may write it, or put another in its place.
func checkProgram(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s is no absolute path: name the program as in /usr/local/bin/parachute", path)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file", path)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is no program: nobody may execute it", path)
	}
	if err := checkOwn(real, info, 0o022); err != nil {
		return err
	}
	// Where the link itself lies somebody could have put another.
	for _, p := range []string{real, filepath.Clean(path)} {
		for dir := filepath.Dir(p); ; dir = filepath.Dir(dir) {
			info, err := os.Stat(dir)
			if err != nil {
				return err
			}
			bad := fs.FileMode(0o022)
			if info.Mode()&fs.ModeSticky != 0 { // there, others replace only what is theirs
				bad = 0
			}
			if err := checkOwn(dir, info, bad); err != nil {
				return err
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return nil
}

// checkOwn returns an error if a file is another user's, or has one of the modes.
func checkOwn(path string, info fs.FileInfo, bad fs.FileMode) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who could change what would be run: want a program that only root and the user of the proxy may write", path, stat.Uid)
	}
	if info.Mode()&bad != 0 {
		return fmt.Errorf("%s may be written by others (its mode is %v), who could change what would be run: take that away, as with chmod go-w", path, info.Mode().Perm())
	}
	return nil
}

var errNoUnixSocket = errors.New("what was handed over is no unix socket")
