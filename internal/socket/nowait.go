// Package socket reads and writes the sockets of connections at less cost than
// package net does: its system calls do not tell the scheduler, bodies are spliced
// from one socket to another, and deadlines are set no more often than they have to.
//
// [Read], [Peek] and [Write] are system calls that do not wait. They are for within a
// call of a [syscall.RawConn], which waits: where they would have to, they fail with
// EAGAIN. None is ended by a signal.
package socket

import "syscall"

// Read reads what is there. At the end it reads nothing, and without an error.
func Read(fd uintptr, p []byte) (int, error) {
	for {
		if n, err := receive(fd, p); err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// Peek is Read, but leaves what is there.
func Peek(fd uintptr, p []byte) (int, error) {
	for {
		if n, err := peek(fd, p); err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// Write writes as much as there is room for, which may be less than p without an
// error.
func Write(fd uintptr, p []byte) (int, error) {
	for {
		if n, err := send(fd, p); err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
