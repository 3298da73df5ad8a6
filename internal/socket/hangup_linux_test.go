package socket

import (
	"net"
	"testing"
	"time"

	"github.com/matryer/is"
)

// sendLast sends text, and the end of what client sends right behind, and reports whether it
// was not interrupted in between.
func sendLast(t *testing.T, client net.Conn, text string) bool {
	t.Helper()
	is := is.New(t)
	began := time.Now()
	_, err := client.Write([]byte(text))
	is.NoErr(err)
	is.NoErr(client.(interface{ CloseWrite() error }).CloseWrite())
	return time.Since(began) < alongTime*time.Millisecond/2 // for the system counts in larger steps
}

func TestHangupTellsEndsFromResets(t *testing.T) {
	is := is.New(t)
	conn, client := pair(t)
	ended, broken := conn.Hangup()
	is.True(!ended && !broken)
	for !sendLast(t, client, "hello") {
		conn, client = pair(t)
	}
	for !conn.HasEnded() { // although there is something to read
	}
	ended, broken = conn.Hangup()
	is.True(ended && !broken)
	is.True(conn.EndedWithData())
	is.NoErr(client.(interface{ SetLinger(int) error }).SetLinger(0))
	is.NoErr(client.Close())
	for !broken {
		ended, broken = conn.Hangup()
	}
	is.True(ended)
}

func TestEndThatComesLaterCameNotWithData(t *testing.T) {
	is := is.New(t)
	conn, client := pair(t)
	_, err := client.Write([]byte("hello"))
	is.NoErr(err)
	later := time.NewTimer(100 * time.Millisecond)
	<-later.C
	is.NoErr(client.(interface{ CloseWrite() error }).CloseWrite())
	for !conn.HasEnded() {
	}
	is.True(!conn.EndedWithData())
}
