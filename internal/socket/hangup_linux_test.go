package socket

import (
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestHangupTellsEndsFromResets(t *testing.T) {
	is := is.New(t)
	conn, client := pair(t)
	ended, broken := conn.Hangup()
	is.True(!ended && !broken)
	_, err := client.Write([]byte("hello"))
	is.NoErr(err)
	is.NoErr(client.(interface{ CloseWrite() error }).CloseWrite())
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
