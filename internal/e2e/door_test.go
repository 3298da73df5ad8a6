package e2e_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A door is a port that leads to proxies, one connection to each in turn. At
// first it leads nowhere: connections are closed.
type door struct {
	listener net.Listener
	running  sync.WaitGroup

	mu   sync.Mutex // guards what follows
	to   []string
	next int
}

// newDoor opens a door until the test ends.
func newDoor(t *testing.T) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{listener: l}
	d.running.Go(d.accept)
	t.Cleanup(func() {
		l.Close()
		d.running.Wait()
	})
	return d
}

func (d *door) port() int { return d.listener.Addr().(*net.TCPAddr).Port }

// lead makes the door lead to addresses.
func (d *door) lead(addresses ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = addresses
}

func (d *door) accept() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.running.Go(func() { d.pass(conn) })
	}
}

// pass carries what one connection brings, both ways.
func (d *door) pass(in net.Conn) {
	defer in.Close()
	address := d.choose()
	if address == "" {
		return
	}
	out, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer out.Close()
	var copying sync.WaitGroup
	copying.Go(func() { carry(out, in) })
	copying.Go(func() { carry(in, out) })
	copying.Wait()
}

func (d *door) choose() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.to) == 0 {
		return ""
	}
	d.next++
	return d.to[d.next%len(d.to)]
}

func carry(to, from net.Conn) {
	io.Copy(to, from)
	to.(*net.TCPConn).CloseWrite()
}
