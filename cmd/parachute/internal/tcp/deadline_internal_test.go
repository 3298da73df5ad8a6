package tcp

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

func TestDeadlineOfWritingIsPutOffForAClientThatTakesSomething(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var socket time.Time
		d := deadline{patient: true, set: func(t time.Time) error { socket = t; return nil }}
		start := time.Now()
		is.NoErr(d.ask(start.Add(time.Minute)))
		time.Sleep(time.Minute)
		since := start.Add(50 * time.Second)
		is.True(!d.expired(since))
		is.Equal(socket, since.Add(time.Minute)) // a minute after that
		time.Sleep(50 * time.Second)
		is.True(d.expired(since))
		is.NoErr(d.ask(time.Now().Add(-time.Second)))
		is.True(d.expired(time.Now())) // one in the past is for whoever is to be ended
		is.NoErr(d.ask(time.Time{}))
		is.True(!d.expired(since))
	})
}

// pair returns a connection as a server has it, and its client's end.
func pair(t *testing.T) (c *conn, client net.Conn) {
	t.Helper()
	l, err := Listen("127.0.0.1:0", nil)
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
	return accepted.(*conn), client
}
