package forward_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestTheEndsOfAWebSocketAreToldBetweenTwoFrames(t *testing.T) {
	for _, tt := range []struct{ name, up, down string }{
		{"before the first", "", ""},
		{"after a message", fromClient(textFrame, "hello"), fromTarget(textFrame, "hello")},
		{"after an empty one", fromClient(textFrame, ""), fromTarget(textFrame, "")},
		{"after a long one", fromClient(textFrame, string(make([]byte, 1000))), fromTarget(textFrame, string(make([]byte, 100_000)))},
		{"after a compressed one", fromClient(compressed, "\xca\x00"), fromTarget(compressed, "\xca\x00")},
		{"after a ping", fromClient(pingFrame, "a"), fromTarget(pingFrame, "a")},
		{"between the fragments of a message", fromClient(fragment, "hel"), fromTarget(fragment, "hel") + fromTarget(middleFragment, "l")},
		{"after a ping between fragments", fromClient(fragment, "hel") + fromClient(pingFrame, ""), fromTarget(fragment, "") + fromTarget(pingFrame, "x")},
		{"after several", fromClient(textFrame, "a") + fromClient(textFrame, "b"), fromTarget(textFrame, "a") + fromTarget(textFrame, "b")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tunnelled(t, func(is *is.I, u *tunnel) {
				u.pass(is, tt.up, tt.down)
				begin := time.Now()
				is.NoErr(u.stream.Close())
				is.NoErr(u.stream.Close()) // a second time is nothing
				hears(is, u.client, goingAway)
				hearsGoingAway(is, u.target)
				answers(is, u.client, fromClient(closeFrame, "\x03\xe9"))
				is.Equal(len(u.p.outcomes), 0) // the target has not answered
				answers(is, u.target, fromTarget(closeFrame, "\x03\xe9"))
				o := <-u.p.outcomes
				is.Equal(time.Since(begin), time.Duration(0)) // nobody was waited for in vain
				is.Equal(o.err, forward.ErrCut)
				is.Equal(o.Status, 101)
				is.Equal(o.BytesIn, int64(len(tt.up))) // what was passed on, and not what is ours
				is.Equal(o.BytesOut, int64(len(tt.down)))
			})
		})
	}
}

func TestWhoDoesNotAnswerACloseFrameIsWaitedForLessThanASecond(t *testing.T) {
	for name, says := range map[string]func(u *tunnel){
		"nobody":            func(*tunnel) {},
		"the client does":   func(u *tunnel) { io.WriteString(u.client, fromClient(closeFrame, "")) },
		"the target does":   func(u *tunnel) { io.WriteString(u.target, fromTarget(closeFrame, "")) },
		"others go on":      func(u *tunnel) { go keepSending(u.client, fromClient(textFrame, "more")) },
		"not in frames":     func(u *tunnel) { io.WriteString(u.client, "hello?") },
		"only an end comes": func(u *tunnel) { u.client.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			tunnelled(t, func(is *is.I, u *tunnel) {
				begin := time.Now()
				u.stream.Close()
				hears(is, u.client, goingAway)
				hearsGoingAway(is, u.target)
				says(u)
				got, _ := hear(u.client, time.Minute)
				is.Equal(got, "")
				got, _ = hear(u.target, time.Minute)
				is.Equal(got, "") // what the other end still sends is dropped
				<-u.p.outcomes
				took := time.Since(begin)
				is.True(took > 800*time.Millisecond)
				is.True(took < time.Second)
			})
		})
	}
}

func keepSending(w io.Writer, frame string) {
	for range 50 {
		io.WriteString(w, frame)
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAnEndThatIsInTheMiddleOfAFrameIsToldAfterIt(t *testing.T) {
	long := string(bytes.Repeat([]byte("0123456789"), 10_000))
	for _, tt := range []struct {
		name     string
		up, down string // complete frames
		left     int    // how much of each is not there yet
	}{
		{"after one byte", fromClient(textFrame, ""), fromTarget(textFrame, ""), 1},
		{"in the payload", fromClient(textFrame, "hello"), fromTarget(textFrame, "hello"), 4},
		{"in a length", fromClient(textFrame, long), fromTarget(textFrame, long), 100_009},
		{"in a long payload", fromClient(textFrame, long), fromTarget(textFrame, long), 20_000},
		{"in the second", fromClient(textFrame, "hello") + fromClient(textFrame, "a"), fromTarget(textFrame, "hello") + fromTarget(textFrame, "a"), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tunnelled(t, func(is *is.I, u *tunnel) {
				up, down := len(tt.up)-tt.left, len(tt.down)-tt.left
				u.pass(is, tt.up[:up], tt.down[:down])
				u.stream.Close()
				time.Sleep(500 * time.Millisecond)
				go io.WriteString(u.client, tt.up[up:]+fromClient(textFrame, "too late"))
				go io.WriteString(u.target, tt.down[down:]+fromTarget(textFrame, "too late"))
				heard := make(chan string)
				go func() {
					got, _ := hear(u.client, time.Minute)
					heard <- got
				}()
				got, state := hear(u.target, time.Minute)
				rest, ours := got[:max(0, len(got)-8)], got[max(0, len(got)-8):]
				is.True(rest == tt.up[up:])
				is.True(isMaskedGoingAway(ours))
				is.True(state != "open")
				is.True(<-heard == tt.down[down:]+goingAway)
			})
		})
	}
}

func TestAFrameThatDoesNotEndIsNotWrittenInto(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		u.pass(is, fromClient(textFrame, "hello")[:8], fromTarget(textFrame, "hello")[:3])
		begin := time.Now()
		u.stream.Close()
		got, state := hear(u.client, time.Minute)
		is.Equal(got, "")
		is.Equal(state, "closed")
		got, state = hear(u.target, time.Minute)
		is.Equal(got, "")
		is.Equal(state, "closed")
		is.Equal((<-u.p.outcomes).err, forward.ErrCut)
		is.True(time.Since(begin) < time.Second)
	})
}

// One end's frame does not keep the other from being told.
func TestOnlyTheEndThatIsInTheMiddleOfAFrameWaits(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		frame := fromClient(textFrame, "hello")
		u.pass(is, frame[:8], "")
		u.stream.Close()
		hears(is, u.client, goingAway)
		io.WriteString(u.client, frame[8:])
		hears(is, u.target, frame[8:])
		hearsGoingAway(is, u.target)
		answers(is, u.client, fromClient(closeFrame, "\x03\xe9"))
		answers(is, u.target, fromTarget(closeFrame, "\x03\xe9"))
		<-u.p.outcomes
	})
}

// Where the frame breaks off, its end is passed on as ever.
func TestAFrameThatBreaksOffIsClosed(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		u.pass(is, fromClient(textFrame, "hello")[:8], "")
		u.stream.Close()
		begin := time.Now()
		hears(is, u.client, goingAway)
		u.client.Close()
		got, state := hear(u.target, time.Minute)
		is.Equal(got, "")
		is.Equal(state, "closed")
		is.Equal(time.Since(begin), time.Duration(0))
		u.target.Close()
		is.Equal((<-u.p.outcomes).err, forward.ErrCut)
	})
}

func TestWhatIsNotAWebSocketIsCutAtOnce(t *testing.T) {
	for _, tt := range []struct{ name, protocol, up, down string }{
		{"another protocol", "tcp", "", ""},
		{"another protocol that looks the same", "echo", fromClient(textFrame, "a"), fromTarget(textFrame, "a")},
		{"words", "websocket", "hello", ""},
		{"words of the target", "websocket", "", "HELLO"},
		{"after a frame", "websocket", fromClient(textFrame, "a") + "hello", fromTarget(textFrame, "a")},
		{"a client that does not mask", "websocket", fromTarget(textFrame, "hello"), ""},
		{"a target that masks", "websocket", "", fromClient(textFrame, "hello")},
		{"a control frame that is too long", "websocket", "", fromTarget(pingFrame, string(make([]byte, 126)))},
		{"a control frame in fragments", "websocket", "", fromTarget(0x09, "")},
		{"a fragment of nothing", "websocket", "", fromTarget(0x80, "")},
		{"a message within another", "websocket", "", fromTarget(fragment, "") + fromTarget(textFrame, "")},
		{"an unknown opcode", "websocket", "", fromTarget(0x83, "")},
		{"a length that cannot be", "websocket", "", "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tunnelledFor(t, tt.protocol, func(is *is.I, u *tunnel) {
				u.pass(is, tt.up, tt.down)
				begin := time.Now()
				is.NoErr(u.stream.Close())
				got, state := hear(u.client, time.Second)
				is.Equal(got, "")
				is.Equal(state, "closed")
				got, state = hear(u.target, time.Second)
				is.Equal(got, "")
				is.Equal(state, "closed")
				is.Equal((<-u.p.outcomes).err, forward.ErrCut)
				is.Equal(time.Since(begin), time.Duration(0))
			})
		})
	}
}

func TestAWebSocketThatTurnsOutToBeNoneIsCut(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		u.pass(is, "\x81", "")
		u.stream.Close()
		hears(is, u.client, goingAway)
		begin := time.Now()
		io.WriteString(u.client, "hello")
		got, state := hear(u.client, time.Second)
		is.Equal(got, "")
		is.True(state != "open")
		is.Equal((<-u.p.outcomes).err, forward.ErrCut)
		is.Equal(time.Since(begin), time.Duration(0))
	})
}

func TestAMuteWebSocketIsCutAtOnce(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		u.pass(is, fromClient(textFrame, "a"), fromTarget(textFrame, "a"))
		begin := time.Now()
		u.p.mute.Store(true) // which may be decided at the last moment
		is.NoErr(u.stream.Close())
		got, state := hear(u.client, time.Second)
		is.Equal(got, "")
		is.Equal(state, "closed")
		got, state = hear(u.target, time.Second)
		is.Equal(got, "")
		is.Equal(state, "closed")
		is.Equal((<-u.p.outcomes).err, forward.ErrCut)
		is.Equal(time.Since(begin), time.Duration(0))
	})
}

// Where an end has closed by itself, it gets the other's answer: a Close frame
// is the last, so that there is one in each direction, whosever it is.
func TestAnEndThatClosesByItselfGetsTheAnswerOfTheOther(t *testing.T) {
	bye, fine := fromClient(closeFrame, "\x03\xe8bye"), fromTarget(closeFrame, "\x03\xe8fine")
	t.Run("client", func(t *testing.T) {
		tunnelled(t, func(is *is.I, u *tunnel) {
			u.pass(is, bye, fromTarget(textFrame, "a"))
			u.stream.Close()
			synctest.Wait()
			io.WriteString(u.target, fromTarget(textFrame, "b")) // which it still may
			hears(is, u.client, fromTarget(textFrame, "b"))
			go answers(is, u.target, fine+fromTarget(textFrame, "too late"))
			got, state := hear(u.client, time.Second)
			is.Equal(got, fine)
			is.Equal(state, "closed")
			u.client.Close()
			<-u.p.outcomes
		})
	})
	t.Run("target", func(t *testing.T) {
		tunnelled(t, func(is *is.I, u *tunnel) {
			u.pass(is, fromClient(textFrame, "a"), fine)
			u.stream.Close()
			synctest.Wait()
			go answers(is, u.client, bye)
			got, state := hear(u.target, time.Second)
			is.Equal(got, bye)
			is.Equal(state, "closed")
			u.target.Close()
			<-u.p.outcomes
		})
	})
	t.Run("both", func(t *testing.T) {
		tunnelled(t, func(is *is.I, u *tunnel) {
			u.pass(is, bye, fine)
			begin := time.Now()
			u.stream.Close()
			got, state := hear(u.client, time.Second)
			is.Equal(got, "")
			is.Equal(state, "closed")
			got, state = hear(u.target, time.Second)
			is.Equal(got, "")
			is.Equal(state, "closed")
			u.client.Close()
			u.target.Close()
			<-u.p.outcomes
			is.Equal(time.Since(begin), time.Duration(0))
		})
	})
}

// The other has less than a second for that.
func TestAnEndThatClosesByItselfIsAnsweredWhereTheOtherDoesNot(t *testing.T) {
	for name, closes := range map[string]struct{ up, down string }{
		"client": {up: fromClient(closeFrame, "\x03\xe8bye")},
		"target": {down: fromTarget(closeFrame, "\x03\xe8fine")},
	} {
		t.Run(name, func(t *testing.T) {
			tunnelled(t, func(is *is.I, u *tunnel) {
				u.pass(is, closes.up, closes.down)
				begin := time.Now()
				u.stream.Close()
				if closes.up != "" {
					hears(is, u.client, goingAway)
				} else {
					hearsGoingAway(is, u.target)
				}
				is.True(time.Since(begin) > 700*time.Millisecond)
				got, state := hear(u.client, time.Minute)
				is.Equal(got, "")
				is.Equal(state, "closed")
				<-u.p.outcomes
				is.True(time.Since(begin) < time.Second)
			})
		})
	}
}

// Whoever has sent a Close frame may end at once, and the other need not wait for
// its own end to hear of that.
func TestTheEndBehindACloseFrameIsPassedOn(t *testing.T) {
	for _, tt := range []struct {
		name, frame string
		ends        func(u *tunnel) (first, second halfCloser)
	}{
		{"client", fromClient(closeFrame, "\x03\xe8"), func(u *tunnel) (first, second halfCloser) { return u.client, u.target }},
		{"target", fromTarget(closeFrame, "\x03\xe8"), func(u *tunnel) (first, second halfCloser) { return u.target, u.client }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tunnelled(t, func(is *is.I, u *tunnel) {
				first, second := tt.ends(u)
				io.WriteString(first, tt.frame)
				is.NoErr(first.CloseWrite())
				got, state := hear(second, time.Second)
				is.Equal(got, tt.frame)
				is.Equal(state, "closed")
				is.Equal(len(u.p.outcomes), 0) // the other way is open
				is.NoErr(second.Close())
				is.NoErr((<-u.p.outcomes).err)
			})
		})
	}
}

// Close frames that meet ours on the way are answers to it, as those of an
// endpoint would be (section 7.1.3).
func TestACloseFrameThatMeetsOursIsTheAnswer(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		begin := time.Now()
		u.stream.Close()
		synctest.Wait()
		io.WriteString(u.client, fromClient(textFrame, "hello")+fromClient(closeFrame, "\x03\xe8"))
		io.WriteString(u.target, fromTarget(closeFrame, "\x03\xe8"))
		got, state := hear(u.client, time.Minute)
		is.Equal(got, goingAway)
		is.Equal(state, "closed")
		got, state = hear(u.target, time.Minute)
		is.True(isMaskedGoingAway(got))
		is.Equal(state, "closed")
		is.Equal(time.Since(begin), time.Duration(0))
		u.client.Close()
		u.target.Close()
		<-u.p.outcomes
	})
}

// A client that has said its last word without a Close frame still reads.
func TestAHalfClosedWebSocketIsToldWhereItReads(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		u.client.CloseWrite()
		got, state := hear(u.target, time.Second)
		is.Equal(got, "")
		is.Equal(state, "closed")
		u.target.SetReadDeadline(time.Time{})
		u.stream.Close()
		got, state = hear(u.client, time.Second)
		is.Equal(got, goingAway)
		is.Equal(state, "closed")
		u.target.Close()
		<-u.p.outcomes
	})
}

func TestAnEndThatReadsNothingDoesNotKeepTheOtherFromBeingTold(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		go io.WriteString(u.target, fromTarget(textFrame, string(make([]byte, 1<<20)))) // which nobody reads
		time.Sleep(time.Hour)
		begin := time.Now()
		u.stream.Close()
		is.Equal(time.Since(begin), time.Duration(0)) // nor the one who closes
		hearsGoingAway(is, u.target)
		is.Equal((<-u.p.outcomes).err, forward.ErrCut)
		is.True(time.Since(begin) < time.Second)
	})
}

// In whatever pieces they come, frames and what is none pass as they are.
func TestAWebSocketPassesUnchanged(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		random := rand.New(rand.NewPCG(1, 2))
		var up, down bytes.Buffer
		for range 300 {
			size := []int{0, 1, 125, 126, 127, 65535, 65536, random.IntN(20_000)}[random.IntN(8)]
			first := []byte{textFrame, 0x82, compressed}[random.IntN(3)]
			up.WriteString(fromClient(first, string(make([]byte, size))))
			down.WriteString(fromTarget(first, string(make([]byte, size))))
			up.WriteString(fromClient(pingFrame, "a"))
		}
		up.WriteString(fromClient(closeFrame, "\x03\xe8"))
		up.WriteString("and more")
		down.WriteString("no frame")
		write := func(to halfCloser, b []byte) {
			pieces := rand.New(rand.NewPCG(3, 4))
			for len(b) > 0 {
				n := min(1+pieces.IntN(20_000), len(b))
				to.Write(b[:n])
				b = b[n:]
			}
			to.CloseWrite()
		}
		read := make(chan bool, 2)
		compare := func(from halfCloser, want []byte) {
			b, err := io.ReadAll(from)
			read <- err == nil && bytes.Equal(b, want)
		}
		go write(u.client, up.Bytes())
		go write(u.target, down.Bytes())
		go compare(u.client, down.Bytes())
		go compare(u.target, up.Bytes())
		is.True(<-read)
		is.True(<-read)
		is.NoErr((<-u.p.outcomes).err)
	})
}

// A hesitant connection writes when it is let, and does not mind who comes first.
type hesitant struct {
	halfCloser
	let chan bool
}

func (c *hesitant) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte{textFrame}) {
		<-c.let
	}
	return c.halfCloser.Write(p)
}

func TestAFrameThatIsBeingWrittenComesBeforeTheCloseFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		client, server := pair(t, n, proxyAddr)
		target, app := pair(t, n, targetAddr)
		ours := &hesitant{server, make(chan bool)}
		r := read(t, "GET", "/")
		r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket"}}
		res := response(101, "", "Connection", "Upgrade", "Upgrade", "websocket")
		res.Body = target
		streams, ended := make(chan io.Closer, 1), make(chan error, 1)
		go func() {
			_, err := forward.Forward(&hijacked{nowhere{make(http.Header)}, ours}, r, answering(func() *http.Response { return res }),
				&forward.Options{Stream: onStream(func(s io.Closer) { streams <- s })})
			ended <- err
		}()
		proxytest.ReadHead(client)
		io.WriteString(app, fromTarget(textFrame, "hello"))
		synctest.Wait()
		(<-streams).Close()
		synctest.Wait()
		close(ours.let)
		got, state := hear(client, time.Second)
		is.Equal(got, fromTarget(textFrame, "hello")+goingAway)
		is.Equal(state, "closed")
		is.Equal(<-ended, forward.ErrCut)
	})
}
