// Package regular reads files that somebody has named, and that may therefore
// be anything: a pipe that nobody writes to, a device without end, a disk image.
package regular

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Why a file that is there is not read.
var (
	ErrNotRegular = errors.New("no regular file")
	ErrSymlink    = errors.New("a symbolic link")
	ErrTooLarge   = errors.New("too large")
)

// ReadFile returns what a regular file holds, if it is not more than so many bytes.
// It never waits for somebody to write to a pipe. Symbolic links are followed.
// An error is a [*fs.PathError] with one of the reasons above, or the system's.
func ReadFile(name string, most int) ([]byte, error) {
	return read(name, most, 0)
}

// ReadFileNoFollow is ReadFile for a file that a symbolic link must not stand for, since
// it may lead anywhere: it is ErrSymlink. Those on the way to it are followed.
func ReadFileNoFollow(name string, most int) ([]byte, error) {
	data, err := read(name, most, syscall.O_NOFOLLOW)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) { // the latter on FreeBSD
		err = &fs.PathError{Op: "open", Path: name, Err: ErrSymlink}
	}
	return data, err
}

func read(name string, most, flags int) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	if errors.Is(err, syscall.ENXIO) { // a socket
		err = &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat() // of what is open, whatever has its name by now
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: ErrNotRegular}
	}
	data, err := io.ReadAll(io.LimitReader(file, int64(most)+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > most:
		return nil, &fs.PathError{Op: "read", Path: name, Err: ErrTooLarge}
	}
	return data, nil
}
