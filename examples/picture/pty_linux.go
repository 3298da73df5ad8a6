package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTerminal returns a terminal of so many columns and rows, and what its
// user has before them: what is written to one comes out at the other.
func openTerminal(columns, rows uint16) (terminal, user *os.File, err error) {
	user, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	name, err := unlock(int(user.Fd()), &unix.Winsize{Col: columns, Row: rows})
	if err == nil {
		terminal, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, user.Close())
	}
	return terminal, user, nil
}

// unlock makes the other end ready to be opened, and returns its name.
func unlock(fd int, size *unix.Winsize) (name string, err error) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return "", err
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return "", err
	}
	return fmt.Sprintf("/dev/pts/%d", n), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size)
}
