package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sockets are descriptors by name. The zero value has none. What was added and not taken
// is the set's, until Close.
type Sockets struct {
	all []named
}

type named struct {
	name string
	file *os.File
}

// Add adds a descriptor.
func (s *Sockets) Add(name string, f *os.File) { s.all = append(s.all, named{name, f}) }

// Has reports whether there is one of that name.
func (s *Sockets) Has(name string) bool {
	for _, n := range s.all {
		if n.name == name {
			return true
		}
	}
	return false
}

// File takes the first descriptor of that name, or returns nil.
func (s *Sockets) File(name string) *os.File {
	for i, n := range s.all {
		if n.name == name {
			s.all = append(s.all[:i:i], s.all[i+1:]...)
			return n.file
		}
	}
	return nil
}

// Listener takes the first listening socket of that name whose address suits. It
// returns nil if there is none.
func (s *Sockets) Listener(name string, suits func(net.Addr) bool) (net.Listener, error) {
	for i, n := range s.all {
		if n.name != name {
			continue
		}
		l, err := net.FileListener(n.file)
		if err != nil {
			return nil, fmt.Errorf("%s: what was handed over is no listening socket: %w", name, err)
		}
		if !suits(l.Addr()) {
			l.Close()
			continue
		}
		s.takeAt(i)
		return l, nil
	}
	return nil, nil
}

// PacketConn is Listener for a socket of packets.
func (s *Sockets) PacketConn(name string, suits func(net.Addr) bool) (net.PacketConn, error) {
	for i, n := range s.all {
		if n.name != name {
			continue
		}
		c, err := net.FilePacketConn(n.file)
		if err != nil {
			return nil, fmt.Errorf("%s: what was handed over is no socket of packets: %w", name, err)
		}
		if !suits(c.LocalAddr()) {
			c.Close()
			continue
		}
		s.takeAt(i)
		return c, nil
	}
	return nil, nil
}

// takeAt removes the descriptor at i. Package net has one of its own.
func (s *Sockets) takeAt(i int) {
	s.all[i].file.Close()
	s.all = append(s.all[:i:i], s.all[i+1:]...)
}

// Duplicate adds another descriptor for the socket of c, which stays open when c is
// closed. It changes nothing of the socket.
func (s *Sockets) Duplicate(name string, c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var fd int
	var dupErr error
	err = raw.Control(func(of uintptr) { fd, dupErr = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dupErr); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.Add(name, os.NewFile(uintptr(fd), name))
	return nil
}

// Places returns where the TCP sockets listen that were not taken.
func (s *Sockets) Places() (places []Place) {
	for _, n := range s.all {
		l, err := net.FileListener(n.file)
		if err != nil {
			continue // a socket of packets
		}
		if at, ok := l.Addr().(*net.TCPAddr); ok {
			places = append(places, Place{n.name, at.String()})
		}
		l.Close()
	}
	return places
}

// Copy returns a set with descriptors of its own for the same sockets.
func (s *Sockets) Copy() (*Sockets, error) {
	all := new(Sockets)
	for _, n := range s.all {
		if err := all.Duplicate(n.name, n.file); err != nil {
			all.Close()
			return nil, err
		}
	}
	return all, nil
}

// SendTo sends all descriptors over l.
func (s *Sockets) SendTo(l *Link) error {
	for _, n := range s.all {
		if err := l.SendSocket(n.name, n.file); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return nil
}

// Close closes the descriptors that were not taken. No socket is shut down by that.
func (s *Sockets) Close() {
	for _, n := range s.all {
		n.file.Close()
	}
	s.all = nil
}
