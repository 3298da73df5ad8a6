package gate_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/gate"
)

// enter returns a passage through l that leaves after d.
func enter(t *testing.T, l *gate.Gates, d time.Duration) *gate.Passage {
	t.Helper()
	p, ok := l.Enter()
	if !ok {
		t.Fatal("the lane is closed")
	}
	time.AfterFunc(d, p.Leave)
	return p
}

// spare is a cut of requests of which none can be ended.
func spare() int64 { return 0 }

// A closer leaves its lane when it is closed, as a stream does, and remembers
// when that was.
type closer struct {
	passage *gate.Passage
	at      time.Time
}

func (c *closer) Close() error {
	c.at = time.Now()
	c.passage.Leave()
	return nil
}

// open returns a stream in l that lasts until it is closed.
func open(t *testing.T, l *gate.Gates) *closer {
	t.Helper()
	p, ok := l.Enter()
	if !ok {
		t.Fatal("the lane is closed")
	}
	c := &closer{passage: p}
	p.BecomeStream(c)
	return c
}

func TestDrainLetsNobodyInAndWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var a, b gate.Gates
		enter(t, &a, time.Second)
		enter(t, &b, 3*time.Second)
		begin := time.Now()
		requests, streams := gate.Drain([]*gate.Gates{&a, &b}, gate.Limits{Requests: time.Minute}, spare, nil)
		is.Equal(time.Since(begin), 3*time.Second)
		is.Equal(requests, int64(0))
		is.Equal(streams, int64(0))
		_, ok := a.Enter()
		is.True(!ok)
	})
}

func TestDrainCutsTheRequestsThatTakeTooLongBeforeItWaitsForStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		enter(t, &l, time.Second)
		late, _ := l.Enter()
		open(t, &l)
		begin := time.Now()
		var cutAt time.Duration
		cut := func() int64 {
			cutAt = time.Since(begin)
			late.Leave()
			return 1
		}
		requests, streams := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute, Streams: time.Hour}, cut, nil)
		is.Equal(cutAt, time.Minute)
		is.Equal(requests, int64(1))
		is.Equal(streams, int64(1))
		is.True(time.Since(begin) >= time.Minute+54*time.Minute)
	})
}

// With no time at all, it is still not too late for those who have left.
func TestDrainCutsNobodyWhereNobodyIsInside(t *testing.T) {
	var lanes []*gate.Gates
	for range 100 {
		lanes = append(lanes, new(gate.Gates))
	}
	cut := func() int64 {
		t.Error("there is nobody to cut")
		return 0
	}
	gate.Drain(lanes, gate.Limits{}, cut, nil)
}

// A handler that was ended has still its last words to say.
func TestDrainWaitsForThoseThatItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		late, _ := l.Enter()
		slow := &slowCloser{}
		slow.passage, _ = l.Enter()
		slow.passage.BecomeStream(slow)
		cut := func() int64 {
			time.AfterFunc(20*time.Millisecond, late.Leave)
			return 1
		}
		gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Second}, cut, nil)
		requests, streams := l.Inside()
		is.Equal(requests, int64(0))
		is.Equal(streams, int64(0))
	})
}

// A slowCloser leaves its lane a little after it was closed.
type slowCloser struct{ passage *gate.Passage }

func (c *slowCloser) Close() error {
	time.AfterFunc(20*time.Millisecond, c.passage.Leave)
	return nil
}

func TestDrainEndsWhenDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		enter(t, &l, time.Hour)
		done := make(chan struct{})
		time.AfterFunc(time.Second, func() { close(done) })
		begin := time.Now()
		cut := func() int64 {
			t.Error("who gives up waiting does not cut")
			return 1
		}
		requests, _ := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute}, cut, done)
		is.Equal(time.Since(begin), time.Second)
		is.Equal(requests, int64(0)) // which still run, and are nobody's loss
	})
}

func TestDrainThatIsDoneClosesNoStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		stream := open(t, &l)
		done := make(chan struct{})
		time.AfterFunc(time.Second, func() { close(done) })
		_, closed := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute, Streams: time.Hour}, spare, done)
		is.Equal(closed, int64(0))
		is.True(stream.at.IsZero())
	})
}

func TestStreamsAreClosedAfterTheRequestsHaveLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		enter(t, &l, 3*time.Second)
		stream := open(t, &l)
		requests, streams := l.Inside()
		is.Equal(requests, int64(1)) // a stream is no request any more
		is.Equal(streams, int64(1))
		begin := time.Now()
		_, closed := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute}, spare, nil)
		is.Equal(closed, int64(1))
		after := stream.at.Sub(begin)
		is.True(after >= 3*time.Second && after <= 4*time.Second) // within the second that follows
	})
}

func TestStreamsAreClosedInTheLastTenthOfTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		var streams []*closer
		for range 20 {
			streams = append(streams, open(t, &l))
		}
		begin := time.Now()
		_, closed := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute, Streams: 100 * time.Second}, spare, nil)
		is.Equal(closed, int64(20))
		var moments []time.Duration
		for _, s := range streams {
			moments = append(moments, s.at.Sub(begin))
		}
		is.True(slices.Min(moments) >= 90*time.Second && slices.Max(moments) <= 100*time.Second)
		is.True(slices.Max(moments)-slices.Min(moments) > 2*time.Second) // all through it
	})
}

func TestStreamsAreClosedFirstWhereTheirLimitIsNegative(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		enter(t, &l, time.Second)
		stream := open(t, &l)
		begin := time.Now()
		_, closed := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute, Streams: -1}, spare, nil)
		is.True(stream.at.Sub(begin) < time.Millisecond)
		is.Equal(time.Since(begin), time.Second) // and the requests waited for
		is.Equal(closed, int64(1))
	})
}

func TestStreamThatBeginsWhenAllAreClosedIsClosedAsItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		late, _ := l.Enter()
		c := &slowCloser{passage: late}
		begin := time.Now()
		time.AfterFunc(time.Second, func() { late.BecomeStream(c) })
		requests, streams := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute, Streams: -1}, spare, nil)
		is.Equal(time.Since(begin), time.Second+20*time.Millisecond) // until it has left
		is.Equal(requests, int64(0))
		is.Equal(streams, int64(1))
		is.True(l.IsDrained())
	})
}

// A pause that is resumed has closed the lanes of those inside, but they are
// none of its business any more.
func TestStreamThatBeginsAfterADrainWasGivenUpGoesOn(t *testing.T) {
	for _, limit := range []time.Duration{-1, 0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var l gate.Gates
			late, _ := l.Enter()
			done := make(chan struct{})
			time.AfterFunc(time.Second, func() { close(done) })
			requests, streams := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute, Streams: limit}, spare, done)
			is.Equal(requests, int64(0))
			is.Equal(streams, int64(0))
			c := &closer{passage: late}
			late.BecomeStream(c)
			is.True(c.at.IsZero())
			is.True(!l.IsDrained())
			_, streams = gate.Drain([]*gate.Gates{&l}, gate.Limits{}, spare, nil) // until the next one
			is.Equal(streams, int64(1))
			is.True(l.IsDrained())
		})
	}
}

func TestEachOfTwoDrainsCountsWhatItEndedItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		open(t, &l)
		first := make(chan int64)
		go func() {
			_, closed := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute, Streams: time.Hour}, spare, nil)
			first <- closed
		}()
		time.Sleep(time.Second)
		_, closed := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute}, spare, nil)
		is.Equal(closed, int64(1))
		is.Equal(<-first, int64(0))
	})
}

func TestRequestThatBecomesAStreamDuringADrainIsClosedLikeTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		late, _ := l.Enter()
		c := &closer{passage: late}
		time.AfterFunc(time.Second, func() { late.BecomeStream(c) })
		_, closed := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute}, spare, nil)
		is.Equal(closed, int64(1))
		is.True(!c.at.IsZero())
	})
}

func TestStreamsThatEndByThemselvesAreNotClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		stream := open(t, &l)
		time.AfterFunc(time.Second, func() { stream.passage.Leave() })
		begin := time.Now()
		_, closed := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute, Streams: time.Hour}, spare, nil)
		is.Equal(time.Since(begin), time.Second)
		is.Equal(closed, int64(0))
		is.True(stream.at.IsZero())
	})
}

func TestPassageIsAStreamOnceItHasBecomeOne(t *testing.T) {
	is := is.New(t)
	var l gate.Gates
	p, _ := l.Enter()
	is.True(!p.IsStream())
	p.BecomeStream(&closer{passage: p})
	is.True(p.IsStream())
}

func TestStreamsHaveNoLongerThanTheRequestsHaveLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		enter(t, &l, 9900*time.Millisecond)
		var streams []*closer
		for range 20 {
			streams = append(streams, open(t, &l))
		}
		begin := time.Now()
		_, closed := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: 10 * time.Second}, spare, nil)
		is.Equal(closed, int64(20))
		is.True(time.Since(begin) <= 10*time.Second)
		moments := make(map[time.Time]bool)
		for _, s := range streams {
			moments[s.at] = true
		}
		is.True(len(moments) > 1) // one by one all the same
	})
}

func TestDrainThatIsGivenUpCountsTheStreamsThatCameLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var l gate.Gates
		enter(t, &l, time.Hour)
		late, _ := l.Enter()
		time.AfterFunc(time.Second, func() { late.BecomeStream(&closer{passage: late}) })
		done := make(chan struct{})
		time.AfterFunc(2*time.Second, func() { close(done) })
		requests, streams := gate.Drain([]*gate.Gates{&l}, gate.Limits{Requests: time.Minute, Streams: -1}, spare, done)
		is.Equal(requests, int64(0))
		is.Equal(streams, int64(1))
	})
}

func TestLimitsBoundADrainThatMayCutAtOnceToo(t *testing.T) {
	for _, tt := range []struct {
		limits gate.Limits
		want   time.Duration
	}{
		{gate.Limits{Requests: time.Minute, Streams: time.Hour}, time.Hour + time.Minute},
		{gate.Limits{Requests: time.Minute}, time.Minute},
		{gate.Limits{Requests: time.Minute, Streams: -1}, time.Minute},
		{gate.Limits{Requests: -1, Streams: time.Minute}, time.Minute},
		{gate.Limits{}, time.Second},
		{gate.Limits{Requests: -1, Streams: -1}, time.Second},
		{gate.Limits{Requests: time.Minute, Streams: math.MaxInt64}, math.MaxInt64},
	} {
		t.Run(fmt.Sprint(tt.limits), func(t *testing.T) {
			is := is.New(t)
			is.Equal(tt.limits.Longest(), tt.want)
		})
	}
}
