package forward_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/http2"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A message of gRPC, and the first half of one.
const (
	message = "\x00\x00\x00\x00\x05hello"
	half    = "\x00\x00\x00\x00\x05he"
)

// called runs test with a gRPC call whose client has sent nothing, the answer
// of which has its head.
func called(t *testing.T, test func(is *is.I, v *rpc)) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		v := &rpc{visit: &visit{net: new(proxytest.Net), x: newExchange()}, streams: make(chan io.Closer, 1)}
		v.p = newProxy(v.x.Exchange)
		v.p.stream = func(s io.Closer) { v.streams <- s }
		v.visit.client = serve2(t, v.net, v.p)
		var in io.Reader
		in, v.out = io.Pipe()
		ctx, leave := context.WithCancel(t.Context())
		v.leave = leave
		r, err := http.NewRequestWithContext(ctx, "POST", "http://app.test/a.Service/Method", in)
		is.NoErr(err)
		r.Header.Set("Content-Type", "application/grpc+proto")
		v.got = v.send(r)
		v.call = <-v.x.calls
		res, out := piped(response(200, ""))
		res.Header.Set("Content-Type", "application/grpc")
		v.target = out
		v.call.answer <- answer{res: res}
		got := <-v.got
		is.NoErr(got.err)
		v.answer = got.Response
		test(is, v)
		leave()
		v.out.Close()
		v.target.Close()
	})
}

// An rpc is a visit that is a gRPC call.
type rpc struct {
	*visit
	leave   context.CancelFunc // of the client
	target  *io.PipeWriter     // writes the answer
	answer  *http.Response     // as the client gets it
	streams chan io.Closer
}

// halfClose has the client say that it has sent all, and the target read that.
func (v *rpc) halfClose(is *is.I) {
	is.Helper()
	v.out.Close()
	_, err := io.ReadAll(v.call.r.Body)
	is.NoErr(err)
}

// ends makes sure that the answer ends as a call should.
func (v *rpc) ends(is *is.I, rest string) {
	is.Helper()
	b, err := io.ReadAll(v.answer.Body)
	is.NoErr(err)                                       // no reset
	is.Equal(string(b), rest)                           // what came before
	is.Equal(v.answer.Trailer.Get("Grpc-Status"), "14") // UNAVAILABLE
}

func TestCallWithASingleMessageIsNoStream(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		v.halfClose(is)
		io.WriteString(v.target, half)
		time.Sleep(time.Hour) // however long its answer takes
		io.WriteString(v.target, message[len(half):])
		v.target.Close()
		b, err := io.ReadAll(v.answer.Body)
		is.NoErr(err)
		is.Equal(string(b), message)
		is.NoErr((<-v.p.outcomes).err)
		is.Equal(len(v.streams), 0)
	})
}

func TestCallWithoutAMessageIsNoStreamOnceItsClientHasSentAll(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		v.halfClose(is)
		time.Sleep(time.Hour)
		is.Equal(len(v.streams), 0)
	})
}

func TestCallIsAStreamFromItsSecondMessageOn(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		v.halfClose(is)
		io.WriteString(v.target, message)
		synctest.Wait()
		is.Equal(len(v.streams), 0) // one message is what a unary call has
		io.WriteString(v.target, half)
		synctest.Wait()
		is.Equal(len(v.streams), 1)
	})
}

func TestCallThatGoesOnAfterAMessageIsAStream(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		v.halfClose(is)
		io.WriteString(v.target, message)
		time.Sleep(time.Second - 1)
		is.Equal(len(v.streams), 0)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		is.Equal(len(v.streams), 1)
	})
}

func TestCallWhoseClientGoesOnAfterTheHeadIsAStream(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		time.Sleep(time.Second)
		synctest.Wait()
		is.Equal(len(v.streams), 1)
	})
}

func TestCallThatIsCutSaysSo(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		io.WriteString(v.target, message+message)
		stream := <-v.streams
		synctest.Wait()
		begun := time.Now()
		is.NoErr(stream.Close())
		v.ends(is, message+message)
		is.Equal(time.Since(begun), time.Duration(0)) // at once
		o := <-v.p.outcomes
		is.True(errors.Is(o.err, forward.ErrCut))
		is.Equal(o.Status, 200)
		is.NoErr(stream.Close()) // does nothing any more
		v.isOpen(is)
	})
}

func TestCallIsCutBehindAWholeMessage(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		io.WriteString(v.target, message+half)
		stream := <-v.streams
		synctest.Wait()
		is.NoErr(stream.Close())
		time.Sleep(400 * time.Millisecond)
		io.WriteString(v.target, message[len(half):])
		v.ends(is, message+message)
		is.True(errors.Is((<-v.p.outcomes).err, forward.ErrCut))
	})
}

func TestCutCallWaitsForNoMessageForLong(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		io.WriteString(v.target, message+half)
		stream := <-v.streams
		synctest.Wait()
		begun := time.Now()
		is.NoErr(stream.Close())
		v.ends(is, message+half)
		is.Equal(time.Since(begun), 500*time.Millisecond)
	})
}

func TestCallWhoseTargetBreaksOffSaysSo(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		io.WriteString(v.target, message)
		v.target.CloseWithError(errors.New("broken"))
		v.ends(is, message)
		o := <-v.p.outcomes
		is.True(o.Open)
		is.Equal(o.err.Error(), "broken")
		v.isOpen(is)
	})
}

// Nothing can be said to a client that takes nothing, but it must not keep a
// drain either.
func TestCallWhoseClientTakesNothingCanBeCut(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		big := "\x00\x00\x80\x00\x00" + strings.Repeat("x", 8<<20)
		go io.WriteString(v.target, message+big)
		stream := <-v.streams
		time.Sleep(24 * time.Hour) // it may take its time
		begun := time.Now()
		is.NoErr(stream.Close())
		o := <-v.p.outcomes
		is.True(errors.Is(o.err, forward.ErrCut))
		is.True(!o.Open)
		is.True(time.Since(begun) <= time.Second)
	})
}

func TestNobodyIsTimedInACall(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		read := make(chan string)
		go func() {
			b := make([]byte, 100)
			n, _ := v.call.r.Body.Read(b)
			read <- string(b[:n])
		}()
		time.Sleep(24 * time.Hour) // the client says nothing,
		io.WriteString(v.out, message)
		is.Equal(<-read, message)
		time.Sleep(24 * time.Hour) // nor does the target
		io.WriteString(v.target, message)
		is.Equal(nextPiece(is, v.answer.Body), message)
	})
}

// Before the head has come, as grpc-go sends it only with its first message.
func TestClientOfACallMayBeSilentBeforeItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		p := newProxy(func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
			b, err := io.ReadAll(r.Body)
			return response(200, string(b)), err
		})
		client := serve2(t, n, p)
		in, out := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://app.test/", in)
		is.NoErr(err)
		r.Header.Set("Content-Type", "application/grpc")
		go func() {
			time.Sleep(24 * time.Hour)
			io.WriteString(out, message)
			out.Close()
		}()
		res, err := client.Do(r)
		is.NoErr(err)
		is.Equal(res.StatusCode, 200)
		b, err := io.ReadAll(res.Body)
		is.NoErr(err)
		is.Equal(string(b), message)
	})
}

func TestCallOfAClientThatLeftIsOver(t *testing.T) {
	called(t, func(is *is.I, v *rpc) {
		io.WriteString(v.target, message+message)
		<-v.streams
		v.leave()
		synctest.Wait()
		v.target.CloseWithError(context.Canceled)
		is.True((<-v.p.outcomes).err != nil)
	})
}

// It has its second from the message on, whenever that leaves.
func TestCallWhoseClientTakesNothingIsAStreamAllTheSame(t *testing.T) {
	for name, taken := range map[string]time.Duration{"never": time.Hour, "late": 800 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				x := newExchange()
				p := newProxy(x.Exchange)
				streams := make(chan io.Closer, 1)
				p.stream = func(s io.Closer) { streams <- s }
				serve2(t, &n, p)
				c := dialFrames(t, &n)
				c.must(c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
				id := c.ask("POST", true, "content-type", "application/grpc")
				c.must(c.WriteData(id, true, []byte(message)))
				call := <-x.calls
				_, err := io.ReadAll(call.r.Body)
				is.NoErr(err)
				res, out := piped(response(200, ""))
				res.Header.Set("Content-Type", "application/grpc")
				call.answer <- answer{res: res}
				is.True(strings.HasPrefix(c.next(), "HEADERS :status=200"))
				io.WriteString(out, message)
				time.AfterFunc(taken, func() { c.WriteWindowUpdate(id, 1000) })
				time.Sleep(time.Second - 1)
				is.Equal(len(streams), 0)
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				is.Equal(len(streams), 1)
				c.conn.Close()
				out.Close()
				<-p.outcomes
			})
		})
	}
}

// As one that is refused, after its request was read.
func TestCallThatEndsWithoutAMessageIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		p := newProxy(func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
			_, err := io.ReadAll(r.Body)
			res := response(200, "")
			res.Header.Set("Content-Type", "application/grpc")
			res.Trailer = http.Header{"Grpc-Status": {"7"}}
			return res, err
		})
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://app.test/", strings.NewReader(message))
		is.NoErr(err)
		r.Header.Set("Content-Type", "application/grpc")
		res, err := serve2(t, n, p).Do(r)
		is.NoErr(err)
		b, err := io.ReadAll(res.Body)
		is.NoErr(err)
		is.Equal(len(b), 0)
		is.Equal(res.Trailer.Get("Grpc-Status"), "7")
		is.NoErr((<-p.outcomes).err)
	})
}
