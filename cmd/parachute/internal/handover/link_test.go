package handover_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
)

// pair returns two ends of a connection.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

func links(t *testing.T) (a, b *handover.Link) {
	t.Helper()
	one, other := pair(t)
	return handover.NewLink(one), handover.NewLink(other)
}

func TestMessagesArriveWholeAndInTheirOrder(t *testing.T) {
	is := is.New(t)
	a, b := links(t)
	large := handover.Offer{Version: "v1", Services: json.RawMessage(`"` + strings.Repeat("x", 5<<20) + `"`)}
	sent := make(chan error, 1)
	go func() {
		err := a.Send(handover.KindAsk, handover.Ask{Protocol: 1, PID: 42})
		sent <- errors.Join(err, a.Send(handover.KindOffer, large), a.Send(handover.KindReady, nil))
	}()
	m, err := b.Receive()
	is.NoErr(err)
	is.Equal(m.Kind, handover.KindAsk)
	var ask handover.Ask
	is.NoErr(m.Decode(&ask))
	is.Equal(ask, handover.Ask{Protocol: 1, PID: 42})
	m, err = b.Receive()
	is.NoErr(err)
	is.Equal(m.Kind, handover.KindOffer)
	var offer handover.Offer
	is.NoErr(m.Decode(&offer))
	is.True(bytes.Equal(offer.Services, large.Services))
	m, err = b.Receive()
	is.NoErr(err)
	is.Equal(m.Kind, handover.KindReady)
	is.True(m.Decode(&ask) != nil) // it has no body
	is.NoErr(<-sent)

	is.NoErr(b.Send(handover.KindGo, nil)) // the other way
	m, err = a.Receive()
	is.NoErr(err)
	is.Equal(m.Kind, handover.KindGo)
}

// All of them come at once, and one read may get several.
func TestEachSocketArrivesWithItsName(t *testing.T) {
	is := is.New(t)
	a, b := links(t)
	want := make(map[string]string)
	for i := range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		is.NoErr(err)
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		is.NoErr(err)
		name := fmt.Sprint("listen ", i)
		is.NoErr(a.SendSocket(name, f))
		is.NoErr(f.Close()) // it stays ours
		is.NoErr(a.Send(handover.KindProgress, handover.Progress{Requests: int64(i)}))
		want[name] = l.Addr().String()
	}
	got := make(map[string]string)
	for i := range 20 {
		m, err := b.Receive()
		is.NoErr(err)
		is.Equal(m.Kind, handover.KindSocket)
		var socket handover.Socket
		is.NoErr(m.Decode(&socket))
		flags, err := unix.FcntlInt(m.File.Fd(), unix.F_GETFD, 0)
		is.NoErr(err)
		is.True(flags&unix.FD_CLOEXEC != 0) // no program that is started has it
		l, err := net.FileListener(m.File)
		is.NoErr(err)
		is.NoErr(m.File.Close())
		got[socket.Name] = l.Addr().String()
		is.NoErr(l.Close())
		m, err = b.Receive()
		is.NoErr(err)
		var p handover.Progress
		is.NoErr(m.Decode(&p))
		is.Equal(p.Requests, int64(i))
		is.Equal(m.File, nil)
	}
	is.Equal(got, want)
}

func TestDescriptorsThatNobodyTookAreClosed(t *testing.T) {
	is := is.New(t)
	a, b := links(t)
	r, w, err := os.Pipe()
	is.NoErr(err)
	defer r.Close()
	is.NoErr(a.Send(handover.KindGo, nil))
	is.NoErr(a.SendSocket("http", w))
	is.NoErr(a.SendSocket("https", w))
	is.NoErr(w.Close())
	for range 2 { // the second socket is read by then, or will not be
		m, err := b.Receive()
		is.NoErr(err)
		if m.File != nil {
			is.NoErr(m.File.Close())
		}
	}
	is.NoErr(b.Close())
	is.NoErr(a.Close())
	is.NoErr(r.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = r.Read(make([]byte, 1))
	is.Equal(err, io.EOF) // nobody has the other end
}

func TestEndOfTheOtherProcessIsTold(t *testing.T) {
	prefix := func(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
	for name, tt := range map[string]struct {
		last string
		want error
	}{
		"between messages": {prefix(16) + `{"kind":"ready"}`, io.EOF},
		"in a length":      {"\x00\x00", io.ErrUnexpectedEOF},
		"behind a length":  {prefix(16), io.ErrUnexpectedEOF},
		"in a message":     {prefix(16) + `{"kind"`, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			raw, other := pair(t)
			b := handover.NewLink(other)
			_, err := io.WriteString(raw, tt.last)
			is.NoErr(err)
			is.NoErr(raw.Close())
			for err == nil {
				_, err = b.Receive()
			}
			is.Equal(err, tt.want)
		})
	}
}

func TestProcessThatEndsWithoutHavingReadAllHasEnded(t *testing.T) {
	is := is.New(t)
	a, b := links(t)
	is.NoErr(b.Send(handover.KindGo, nil))
	is.NoErr(a.Close())
	_, err := b.Receive()
	is.Equal(err, io.EOF)
}

func TestWhatIsNoMessageIsAnError(t *testing.T) {
	prefix := func(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
	for name, tt := range map[string]struct{ sent, want string }{
		"longer than any":                {prefix(1 << 31), "a message of 2147483648 bytes"},
		"no JSON":                        {prefix(4) + "GET ", "a message that is none"},
		"a socket without a descriptor":  {prefix(17) + `{"kind":"socket"}`, "a socket without a descriptor"},
		"an HTTP server that answers so": {"HTTP/1.1 400 Bad Request\r\n", "a message of 1213486160 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			raw, other := pair(t)
			_, err := io.WriteString(raw, tt.sent)
			is.NoErr(err)
			_, err = handover.NewLink(other).Receive()
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), tt.want))
		})
	}
}

func TestNobodyIsWaitedForBeyondTheDeadline(t *testing.T) {
	is := is.New(t)
	_, b := links(t)
	is.NoErr(b.SetDeadline(time.Now()))
	_, err := b.Receive()
	is.True(errors.Is(err, os.ErrDeadlineExceeded))
}
