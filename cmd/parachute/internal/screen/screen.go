//go:build unix

// Package screen takes over a terminal for a program that shows something new now
// and then, and gives it back as it was.
package screen

import (
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A Screen is a terminal that was taken over. What was on it is kept aside, and is
// there again after Close, and while the program is suspended. If a signal ends the
// program that the program does not handle, the Screen gives the terminal back
// first.
type Screen struct {
	file    *os.File
	keys    chan Key
	changed chan struct{}  // has room for one
	signals chan os.Signal // that concern the terminal
	wake    [2]*os.File    // a pipe: what ends the wait for a key
	stopped chan struct{}  // closed by Close
	running sync.WaitGroup

	mu     sync.Mutex  // guards what follows, and writes to file
	before *term.State // of the terminal; nil: keys cannot be read
	isOurs bool        // the terminal is taken over
}

// Open takes over a terminal. The caller must call Close. If the terminal cannot be
// read, there are no keys, and it goes on to send signals for ctrl-C.
func Open(file *os.File) (*Screen, error) {
	s := &Screen{
		file:    file,
		keys:    make(chan Key),
		changed: make(chan struct{}, 1),
		signals: make(chan os.Signal, 4),
		stopped: make(chan struct{}),
	}
	if isReadable(file) {
		var err error
		if s.before, err = term.GetState(int(file.Fd())); err != nil {
			return nil, err
		}
		if s.wake[0], s.wake[1], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	signal.Notify(s.signals, ownSignals...)
	s.mu.Lock()
	err := s.enterLocked()
	s.mu.Unlock()
	s.running.Go(s.handleSignals)
	if s.before != nil {
		s.running.Go(s.readKeys)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// ownSignals are those that a Screen handles.
var ownSignals = []os.Signal{syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGHUP, syscall.SIGQUIT}

// isReadable reports whether file was opened for reading.
func isReadable(file *os.File) bool {
	flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR
}

// HasKeys reports whether Keys ever returns one.
func (s *Screen) HasKeys() bool { return s.before != nil }

// Keys returns the channel of what is pressed. Ctrl-C and ctrl-\ are 'q' there, for
// the terminal sends no signals.
func (s *Screen) Keys() <-chan Key { return s.keys }

// Changed returns a channel that has a value when all has to be drawn again: the
// terminal was resized, or the program goes on after it was suspended.
func (s *Screen) Changed() <-chan struct{} { return s.changed }

// The control sequences that a terminal must understand.
const (
	enterAlternate = "\x1b[?1049h\x1b[?25l" // with the cursor hidden
	leaveAlternate = "\x1b[?25h\x1b[?1049l"
	home           = "\x1b[H"
	eraseLine      = "\x1b[K"
	eraseBelow     = "\x1b[J"
)

// Draw shows lines in place of what was shown. None may be wider than the terminal,
// and there may not be more than it has rows.
func (s *Screen) Draw(lines []string) error {
	// Each line is erased before it is written: after it, the cursor might still
	// be upon its last character. All is one write, so that nothing flickers.
	text := home + eraseLine + strings.Join(lines, "\r\n"+eraseLine)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isOurs {
		return nil
	}
	_, err := io.WriteString(s.file, text+s.below(lines))
	return err
}

// below returns what erases the rows below lines.
func (s *Screen) below(lines []string) string {
	if _, rows, err := term.GetSize(int(s.file.Fd())); err == nil && rows > 0 && len(lines) >= rows {
		return ""
	}
	return "\r\n" + eraseBelow
}

// Close gives the terminal back.
func (s *Screen) Close() error {
	signal.Stop(s.signals)
	close(s.stopped)
	if s.before != nil {
		s.wake[1].Close()
	}
	s.running.Wait()
	if s.before != nil {
		s.wake[0].Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaveLocked()
}

// enterLocked takes the terminal over. If that was done, it only sees to the state
// of the terminal.
func (s *Screen) enterLocked() error {
	if s.before != nil {
		if _, err := term.MakeRaw(int(s.file.Fd())); err != nil {
			return err
		}
	}
	if s.isOurs {
		return nil
	}
	s.isOurs = true
	_, err := io.WriteString(s.file, enterAlternate)
	return err
}

// leaveLocked gives the terminal back, unless that was done.
func (s *Screen) leaveLocked() error {
	if !s.isOurs {
		return nil
	}
	s.isOurs = false
	_, err := io.WriteString(s.file, leaveAlternate)
	if s.before != nil {
		if e := term.Restore(int(s.file.Fd()), s.before); e != nil {
			return e
		}
	}
	return err
}

// handleSignals handles signals until Close.
func (s *Screen) handleSignals() {
	for {
		select {
		case <-s.stopped:
			return
		case sig := <-s.signals:
			s.handle(sig.(syscall.Signal))
		}
	}
}

func (s *Screen) handle(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch sig {
	case syscall.SIGTSTP:
		s.suspendLocked()
	case syscall.SIGCONT:
		// Who has continued the program has put the terminal into a state of its
		// own meanwhile.
		s.enterLocked()
	case syscall.SIGHUP, syscall.SIGQUIT:
		s.leaveLocked()
		signal.Reset(sig)
		syscall.Kill(os.Getpid(), sig)
		return
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// suspendLocked stops the program, and returns when it goes on. Where no shell
// could have it go on, it does nothing.
func (s *Screen) suspendLocked() {
	// A shell that controls jobs has each in a process group of its own.
	if session, err := unix.Getsid(0); err != nil || session == unix.Getpgrp() {
		return
	}
	s.leaveLocked()
	// The shell waits until all of the job has stopped. Once a Go program was
	// notified of SIGTSTP, that cannot stop it any more.
	signal.Ignore(syscall.SIGTSTP)
	syscall.Kill(0, syscall.SIGTSTP)
	for len(s.signals) > 0 {
		<-s.signals // none of them is about what comes now
	}
	syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	for sig := range s.signals {
		if sig == syscall.SIGCONT {
			break
		}
	}
	signal.Notify(s.signals, syscall.SIGTSTP)
	s.enterLocked()
}

// readKeys reads keys until Close.
func (s *Screen) readKeys() {
	var keys keyReader
	buf := make([]byte, 256)
	for s.awaitInput() {
		n, err := unix.Read(int(s.file.Fd()), buf)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if n <= 0 {
			s.deliver('q') // the terminal is gone
			return
		}
		for _, b := range buf[:n] {
			switch key, ok := keys.read(b); {
			case !ok:
			case key == suspend:
				select {
				case s.signals <- syscall.SIGTSTP:
				default:
				}
			case key == interrupt || key == quit:
				s.deliver('q')
			default:
				s.deliver(key)
			}
		}
	}
}

// deliver sends a key to who shows something, unless Close is called.
func (s *Screen) deliver(k Key) {
	select {
	case s.keys <- k:
	case <-s.stopped:
	}
}

// awaitInput waits until the terminal can be read. It returns false after Close.
// It selects, because poll(2) cannot wait for terminals everywhere.
func (s *Screen) awaitInput() bool {
	terminal, wake := int(s.file.Fd()), int(s.wake[0].Fd())
	for {
		var ready unix.FdSet
		ready.Set(terminal)
		ready.Set(wake)
		_, err := unix.Select(max(terminal, wake)+1, &ready, nil, nil, nil)
		switch {
		case err == unix.EINTR:
		case err != nil || ready.IsSet(wake):
			return false
		case ready.IsSet(terminal):
			return true
		}
	}
}
