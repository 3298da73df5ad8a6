package server

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// newLinks returns the two ends of a link.
func newLinks(t *testing.T) (here, there *handover.Link) {
	t.Helper()
	is := is.New(t)
	l, err := net.Listen("unix", filepath.Join(proxytest.ShortDir(t), "s"))
	is.NoErr(err)
	defer l.Close()
	ours, err := net.Dial("unix", l.Addr().String())
	is.NoErr(err)
	theirs, err := l.Accept()
	is.NoErr(err)
	here, there = handover.NewLink(ours.(*net.UnixConn)), handover.NewLink(theirs.(*net.UnixConn))
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

func TestNothingReceivesFromALinkWhoseInboxIsClosed(t *testing.T) {
	is := is.New(t)
	here, there := newLinks(t)
	b := openInbox(here)
	is.NoErr(there.Send(handover.KindServing, nil))
	is.Equal((<-b.messages).message.Kind, handover.KindServing)
	is.NoErr(b.close()) // while it waits for the next message
	_, open := <-b.messages
	is.True(!open) // the goroutine has ended
	_, err := there.Receive()
	is.True(errors.Is(err, io.EOF)) // the link is closed
	is.NoErr(b.close())             // again
}

func TestInboxIsClosedThoughNobodyTakesWhatHasCome(t *testing.T) {
	is := is.New(t)
	here, there := newLinks(t)
	b := openInbox(here)
	is.NoErr(there.Send(handover.KindServing, nil))
	is.NoErr(there.Send(handover.KindStopping, nil))
	is.NoErr(b.close())
	_, open := <-b.messages
	is.True(!open) // the goroutine has ended
}

func TestInboxEndsBehindAnError(t *testing.T) {
	is := is.New(t)
	here, there := newLinks(t)
	b := openInbox(here)
	is.NoErr(there.Close())
	is.True(errors.Is((<-b.messages).err, io.EOF))
	_, open := <-b.messages
	is.True(!open) // the goroutine has ended
	is.NoErr(b.close())
}
