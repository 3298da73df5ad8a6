package server

import (
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
)

// newArrival returns a process that has taken the place of another one, and the other's end
// of the Link.
func newArrival(t *testing.T) (a *arrival, old *handover.Link) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*handover.Link
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "link")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = handover.NewLink(c.(*net.UnixConn))
		t.Cleanup(func() { ends[i].Close() })
	}
	a = &arrival{
		link: ends[0], ordered: make(chan struct{}), datagrams: make(chan struct{}), gone: make(chan struct{}), recalled: make(chan error, 1),
		drains: make(map[uint64]chan handover.Drained), progress: handover.Progress{Requests: 1}, changed: make(chan struct{}),
	}
	go a.run()
	t.Cleanup(func() {
		ends[1].Close()
		<-a.gone
	})
	return a, ends[1]
}

// next returns the body of the next message, which must be of that kind.
func next[T any](t *testing.T, l *handover.Link, kind handover.Kind) (body T) {
	t.Helper()
	m, err := l.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if m.Kind != kind {
		t.Fatalf("got %q %s, want %q", m.Kind, m.Body, kind)
	}
	if err := m.Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body
}

type drained struct{ requests, streams int64 }

// beginDrain asks the old process to drain a service.
func beginDrain(a *arrival, service string, limits parachute.Timeouts, done <-chan struct{}) <-chan drained {
	ended := make(chan drained, 1)
	go func() {
		requests, streams := a.drain(service, limits, done)
		ended <- drained{requests, streams}
	}()
	return ended
}

func TestEachDrainGetsTheAnswerOfTheOldProcessToIt(t *testing.T) {
	is := is.New(t)
	a, old := newArrival(t)
	web := beginDrain(a, "web", parachute.Timeouts{Drain: time.Second, Stream: time.Minute}, nil)
	first := next[handover.Drain](t, old, handover.KindDrain)
	is.Equal(first, handover.Drain{ID: first.ID, Service: "web", Requests: time.Second, Streams: time.Minute})
	shop := beginDrain(a, "shop", parachute.Timeouts{Drain: -1}, nil)
	second := next[handover.Drain](t, old, handover.KindDrain)
	is.True(second.ID != first.ID)

	is.NoErr(old.Send(handover.KindDrained, handover.Drained{ID: 99, Requests: 7})) // nobody has asked
	is.NoErr(old.Send(handover.KindDrained, handover.Drained{ID: second.ID, Requests: 2, Streams: 3}))
	is.Equal(<-shop, drained{2, 3})
	select {
	case got := <-web:
		t.Fatal("it got the answer of another: ", got)
	default:
	}
	is.NoErr(old.Send(handover.KindDrained, handover.Drained{ID: first.ID}))
	is.Equal(<-web, drained{})
}

func TestDrainThatIsOfNoUseAnyMoreIsGivenUpInTheOldProcessToo(t *testing.T) {
	is := is.New(t)
	a, old := newArrival(t)
	resumed := make(chan struct{})
	paused := beginDrain(a, "web", parachute.Timeouts{}, resumed)
	asked := next[handover.Drain](t, old, handover.KindDrain)
	close(resumed)
	is.Equal(next[handover.Undrain](t, old, handover.KindUndrain).ID, asked.ID)
	is.Equal(<-paused, drained{})
	is.NoErr(old.Send(handover.KindDrained, handover.Drained{ID: asked.ID, Requests: 1})) // it has crossed
	next := beginDrain(a, "web", parachute.Timeouts{}, nil)
	again, err := old.Receive()
	is.NoErr(err)
	is.Equal(again.Kind, handover.KindDrain)
	is.NoErr(old.Close())
	is.Equal(<-next, drained{})
}

func TestNothingIsWaitedForOfAnOldProcessThatHasEnded(t *testing.T) {
	is := is.New(t)
	a, old := newArrival(t)
	running := beginDrain(a, "web", parachute.Timeouts{}, nil)
	next[handover.Drain](t, old, handover.KindDrain)
	is.NoErr(old.Close())
	is.Equal(<-running, drained{})
	<-a.gone
	<-a.ordered   // certificates may be ordered
	<-a.datagrams // packets may be read
	is.Equal(<-beginDrain(a, "web", parachute.Timeouts{}, nil), drained{})
	a.follow("web", nil) // nobody follows
}

func TestOldProcessIsToldOfEachChangeAndTellsWhatItHas(t *testing.T) {
	is := is.New(t)
	a, old := newArrival(t)
	a.follow("web", &parachute.Status{Service: "web", Generation: 7})
	p := next[handover.Publish](t, old, handover.KindPublish)
	is.Equal(p.Service, "web")
	is.True(p.Status != nil)
	a.follow("web", nil)
	is.Equal(next[handover.Publish](t, old, handover.KindPublish), handover.Publish{Service: "web"}) // removed

	has, changed := a.current()
	is.Equal(has, handover.Progress{Requests: 1}) // until it is told
	is.NoErr(old.Send(handover.KindProgress, handover.Progress{}))
	<-changed
	has, _ = a.current()
	is.True(has.IsDone())
	is.NoErr(old.Send(handover.KindOrdered, nil))
	<-a.ordered
	is.NoErr(old.Send(handover.KindOrdered, nil)) // again
	is.NoErr(old.Send(handover.KindDatagrams, nil))
	<-a.datagrams
}

// Two processes must not serve at once.
func TestNewProcessLearnsThatTheOldOneServesAgain(t *testing.T) {
	is := is.New(t)
	a, old := newArrival(t)
	is.NoErr(old.Send(handover.KindFailed, handover.Failed{Error: "it was not ready"}))
	is.Equal((<-(&server{arrival: a}).recalled()).Error(), "the process before this one: it was not ready")
	is.True((&server{}).recalled() == nil) // who has taken nobody's place is never recalled
}
