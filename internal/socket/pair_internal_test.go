package socket

import (
	"net"
	"testing"
)

// pair returns a connection as a server has it, and its client's end.
func pair(t *testing.T) (c *Conn, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	pipes := NewPipes(pipesPerUser, nil)
	t.Cleanup(pipes.Close)
	return NewConn(accepted, pipes, nil), client
}
