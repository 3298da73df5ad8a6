package main_test

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"
)

const (
	takenOver = "\x1b[?1049h" // the terminal shows its other screen
	givenBack = "\x1b[?1049l"
)

// A session is a command that was started by the shell of a terminal.
type session struct {
	*process
	terminal, user *os.File
	before         unix.Termios
	shown          chan struct{} // closed when all output was read
}

// inSession runs the program with a terminal that is its controlling terminal.
func inSession(t *testing.T, env environment, columns, rows uint16, args ...string) *session {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return startInSession(t, env, columns, rows, exec.Command(path, args...))
}

// startInSession starts cmd with a terminal that is its controlling terminal.
// It is its standard input and output as well.
func startInSession(t *testing.T, env environment, columns, rows uint16, cmd *exec.Cmd) *session {
	t.Helper()
	s := newSession(t, columns, rows)
	cmd.Stdin = s.terminal
	s.start(t, env, cmd, s.terminal)
	return s
}

// newSession returns a session whose command is not started.
func newSession(t *testing.T, columns, rows uint16) *session {
	t.Helper()
	s := &session{shown: make(chan struct{})}
	s.terminal, s.user = openTerminal(t, columns, rows)
	s.before = s.state(t)
	return s
}

// start starts the command of the session with its output going to out.
func (s *session) start(t *testing.T, env environment, cmd *exec.Cmd, out io.Writer) {
	t.Helper()
	stdout, stderr := newOutput(), newOutput()
	go func() {
		defer close(s.shown)
		io.Copy(stdout, s.user) // ends with an error when the terminal is closed
	}()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1}
	s.process = startCommand(t, cmd, env.with(environment{"PATH": os.Getenv("PATH")}), out, stderr)
	s.stdout, s.stderr = stdout, stderr
}

// end waits for the end of the command, checks that the terminal is as it was
// before, and returns the exit code.
func (s *session) end(t *testing.T) int {
	t.Helper()
	is := is.New(t)
	code := s.wait(t)
	is.Equal(s.state(t), s.before)
	s.terminal.Close()
	<-s.shown
	is.True(strings.HasSuffix(s.stdout.String(), givenBack))
	return code
}

// state returns how the terminal treats what it gets.
func (s *session) state(t *testing.T) unix.Termios {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(s.user.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *state
}

func (s *session) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := s.user.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

func TestTerminalIsGivenBackHoweverAWatchEnds(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	proxy, _ := startProxy(t, asBinary, env)
	a := newApp(t, "web-1")
	is.New(t).Equal(inProcess(t, env, "deploy", "web", "--target", a.address).wait(t), 0)
	signal := func(sig syscall.Signal) func(*testing.T, *session) {
		return func(t *testing.T, s *session) { s.signal(sig) }
	}
	press := func(keys string) func(*testing.T, *session) {
		return func(t *testing.T, s *session) { s.press(t, keys) }
	}
	for _, test := range []struct {
		name string
		end  func(*testing.T, *session)
		code int
		said string
	}{
		{"q", press("q"), 0, ""},
		{"ctrl-C", press("\x03"), 0, ""},
		{`ctrl-\`, press("\x1c"), 0, ""},
		{"SIGINT", signal(syscall.SIGINT), 0, ""},
		{"SIGTERM", signal(syscall.SIGTERM), 0, ""},
		{"SIGHUP", signal(syscall.SIGHUP), -1, ""},
		{"SIGQUIT", signal(syscall.SIGQUIT), 2, "SIGQUIT: quit"},
		{"the proxy is gone", func(t *testing.T, s *session) { proxy.interrupt(); proxy.wait(t) }, 5, "no proxy"},
	} {
		// One after the other: the last one takes the proxy from all of them.
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			s := inSession(t, env, 80, 24, "status", "--watch")
			s.stdout.await(t, s.process, "service  web")
			is.True(s.state(t).Lflag != s.before.Lflag) // keys come one by one
			test.end(t, s)
			is.Equal(s.end(t), test.code)
			is.True(strings.Contains(s.stderr.String(), test.said))
		})
	}
}

func TestWatchScrollsAndFollowsTheSizeOfTheTerminal(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	a := newApp(t, "web-1")
	for _, name := range []string{"one", "two", "three"} {
		is.Equal(inProcess(t, env, "deploy", name, "--target", a.address, "--host", name+".test").wait(t), 0)
	}
	s := inSession(t, env, 100, 10, "status", "--watch")
	s.stdout.await(t, s.process, takenOver)
	s.stdout.await(t, s.process, "lines 1-9 of 23")
	s.press(t, "j")
	s.stdout.await(t, s.process, "lines 2-10 of 23")
	s.press(t, "\x1b[B")
	s.stdout.await(t, s.process, "lines 3-11 of 23")
	s.press(t, " ")
	s.stdout.await(t, s.process, "lines 12-20 of 23")
	s.press(t, "G")
	s.stdout.await(t, s.process, "lines 15-23 of 23")
	is.NoErr(unix.IoctlSetWinsize(int(s.user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 100, Row: 12}))
	s.stdout.await(t, s.process, "lines 13-23 of 23") // of itself
	s.press(t, "q")
	is.Equal(s.end(t), 0)
	is.Equal(s.stderr.String(), "")
}

func TestSuspendedWatchGivesTheTerminalBackMeanwhile(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	path, err := binary()
	is.NoErr(err)
	s := startInSession(t, env.with(environment{"PS1": "$ "}), 80, 24, exec.Command("bash", "--norc", "--noprofile", "-i"))
	s.press(t, path+" status --watch\n")
	s.stdout.await(t, s.process, "nothing is deployed yet")
	s.press(t, "\x1a")
	s.stderr.await(t, s.process, "Stopped")
	s.press(t, "stty -a | grep -o '.icanon' | sed 's/^/now /'; fg; echo code $?\n")
	s.stdout.await(t, s.process, "now  icanon")
	err = s.stdout.AwaitAll(s.ended, patience, func(said string) bool { return strings.Count(said, takenOver) == 2 })
	is.NoErr(err)
	s.press(t, "q")
	s.stdout.await(t, s.process, "code 0")
	s.press(t, "exit\n")
	is.Equal(s.wait(t), 0)
}

func TestWatchThatNoShellCouldContinueIsNotSuspended(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	s := inSession(t, env, 80, 24, "status", "--watch")
	s.stdout.await(t, s.process, "nothing is deployed yet")
	s.press(t, "\x1aq")
	is.Equal(s.end(t), 0)
}

func TestWatchOfATerminalThatCannotBeReadIsEndedBySignals(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	path, err := binary()
	is.NoErr(err)
	s := newSession(t, 80, 24)
	out, err := os.OpenFile(s.terminal.Name(), os.O_WRONLY|unix.O_NOCTTY, 0)
	is.NoErr(err)
	s.start(t, env, exec.Command(path, "status", "--watch"), out)
	out.Close()
	s.stdout.await(t, s.process, "nothing is deployed yet")
	is.Equal(s.state(t), s.before) // or ctrl-C would do nothing
	s.press(t, "\x03")
	is.Equal(s.end(t), 0)
}
