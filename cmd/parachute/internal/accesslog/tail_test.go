package accesslog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
)

// tail returns the last lines of a log.
func tail(t *testing.T, log *accesslog.Log, service string, n int) []string {
	t.Helper()
	var b bytes.Buffer
	err := log.Tail(t.Context(), service, n, false, func(lines []byte) error {
		b.Write(lines)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return linesOf(b.String())
}

func linesOf(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// serve writes the line of a request to a service.
func serve(log *accesslog.Log, service, id string) {
	o := newOutcome()
	o.Service, o.RequestID = service, id
	log.Observe(newRequest(), o)
}

func TestTailHasTheLinesOfTheOutput(t *testing.T) {
	for _, f := range []accesslog.Format{accesslog.JSON, accesslog.Text} {
		t.Run(string(f), func(t *testing.T) {
			is := is.New(t)
			var out bytes.Buffer
			log := accesslog.New(&out, f)
			program := slog.New(log.Handler(slog.LevelInfo))
			for i := range 200 {
				serve(log, "web", fmt.Sprint("r", i))
				program.Info("step", "n", i)
				program.Debug("not wanted")
			}
			before := tail(t, log, "", 0)
			is.NoErr(log.Close())
			written := linesOf(out.String())
			is.Equal(before, written)                    // all of them, in their order
			is.Equal(tail(t, log, "", 3), written[397:]) // the last ones
			is.Equal(tail(t, log, "", 1000), written)    // there are no more
			is.Equal(len(tail(t, log, "", -1)), 0)
		})
	}
}

func TestTailOfAServiceHasItsLinesAlone(t *testing.T) {
	is := is.New(t)
	log := accesslog.New(io.Discard, accesslog.Text)
	defer log.Close()
	program := slog.New(log.Handler(slog.LevelInfo))
	program.Info("started")
	program.Info("healthy", "service", "web", "generation", 1)
	program.Info("healthy", "service", "api")
	program.With("service", "web").Info("switched", "target", "x")
	program.WithGroup("about").Info("grouped", "service", "web")
	program.WithGroup("about").With("service", "web").Info("grouped")
	program.Info("number", "service", 7)
	serve(log, "api", "1")
	serve(log, "web", "2")
	serve(log, "", "3")

	var got []string
	for _, line := range tail(t, log, "web", 0) {
		got = append(got, line[strings.Index(line, "msg="):][:len("msg=switched")])
	}
	is.Equal(got, []string{"msg=healthy ", "msg=switched", "msg=Request "})
	is.Equal(len(tail(t, log, "web", 2)), 2) // of its own lines
	is.Equal(len(tail(t, log, "", 0)), 10)
	is.True(log.Has("web"))
	is.True(log.Has("api"))
	is.True(!log.Has("we"))
	is.Equal(len(tail(t, log, "we", 0)), 0)
}

func TestFiveHundredLinesOfEachKindAreKept(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	log := accesslog.New(&out, accesslog.JSON)
	program := slog.New(log.Handler(slog.LevelInfo))
	program.Error("failed", "service", "web")
	for i := range 1300 {
		serve(log, "web", fmt.Sprint("r", i))
	}
	is.NoErr(log.Close())
	written := linesOf(out.String())
	is.Equal(tail(t, log, "web", 0), append(written[:1:1], written[801:]...)) // requests do not push out what happened
	for range 501 {
		program.Info("step")
	}
	kept := tail(t, log, "", 0)
	is.Equal(len(kept), 1000)
	is.Equal(kept[0], written[801]) // the oldest of the program is forgotten
}

func TestLongLinesLeaveRoomForFewer(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	log := accesslog.New(&out, accesslog.JSON)
	program := slog.New(log.Handler(slog.LevelInfo))
	for i := range 150 {
		program.Info(strings.Repeat("x", 9000+i), "n", i)
	}
	kept := tail(t, log, "", 0)
	is.NoErr(log.Close())
	written := linesOf(out.String())
	is.Equal(kept, written[len(written)-len(kept):]) // the last ones, whole
	size := len(strings.Join(kept, "\n")) + 1
	is.True(size <= 1<<20)                                       // no more than 1 MiB
	is.True(size+len(written[len(written)-len(kept)-1]) > 1<<20) // but as many as fit
}

func TestLineThatIsTooLongIsLeftOut(t *testing.T) {
	is := is.New(t)
	log := accesslog.New(io.Discard, accesslog.JSON)
	defer log.Close()
	program := slog.New(log.Handler(slog.LevelInfo))
	program.Info("before")
	program.Info(strings.Repeat("x", 1<<20))
	program.Info("after")
	program.Info(strings.Repeat("y", 200<<10)) // is not
	kept := tail(t, log, "", 0)
	is.Equal(len(kept), 4)
	is.Equal(decode(t, kept[0])["msg"], "before") // for it nothing is forgotten
	is.Equal(decode(t, kept[1])["lines"], 1.0)    // it is counted
	is.Equal(decode(t, kept[2])["msg"], "after")
	is.Equal(len(decode(t, kept[3])["msg"].(string)), 200<<10)
}

func TestTailHasLinesThatTheOutputDoesNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		out := &output{gate: make(chan struct{})}
		log := accesslog.New(out, accesslog.JSON)
		program := slog.New(log.Handler(slog.LevelInfo))
		program.Info("first")
		time.Sleep(time.Second) // it is being written
		program.Info("second")
		is.Equal(len(tail(t, log, "", 0)), 2)
		close(out.gate)
		is.NoErr(log.Close())
	})
}

// A follower follows a log until cancel is called.
type follower struct {
	text   bytes.Buffer  // what it got
	gate   chan struct{} // if not nil, it waits for an element before it goes on
	asked  chan struct{} // has an element when it waits
	cancel func()
	err    error         // of Tail
	ended  chan struct{} // closed when that has returned; then the others may be looked at
}

func follow(log *accesslog.Log, service string, n int, gate chan struct{}) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{gate: gate, asked: make(chan struct{}, 100), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		f.err = log.Tail(ctx, service, n, true, f.write)
	}()
	return f
}

func (f *follower) write(lines []byte) error {
	if f.gate != nil {
		f.asked <- struct{}{}
		<-f.gate
	}
	f.text.Write(lines)
	return nil
}

func (f *follower) stop(t *testing.T) []string {
	t.Helper()
	f.cancel()
	<-f.ended
	if f.err != nil {
		t.Fatal(f.err)
	}
	return linesOf(f.text.String())
}

func TestFollowedLinesComeWithin10Milliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		log := accesslog.New(io.Discard, accesslog.JSON)
		defer log.Close()
		serve(log, "web", "old")
		serve(log, "web", "last")
		f := follow(log, "web", 1, nil)
		synctest.Wait()
		is.Equal(strings.Count(f.text.String(), "\n"), 1) // of those that were there, the last
		serve(log, "web", "new")
		serve(log, "api", "other")
		serve(log, "web", "newer")
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		is.Equal(strings.Count(f.text.String(), "\n"), 3)
		serve(log, "web", "newest")
		var ids []any
		for _, line := range f.stop(t) {
			ids = append(ids, decode(t, line)["request_id"])
		}
		is.Equal(ids, []any{"last", "new", "newer", "newest"}) // also what came just before the end
	})
}

func TestSlowFollowerHoldsNobodyUpAndIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		log := accesslog.New(io.Discard, accesslog.JSON)
		defer log.Close()
		f := follow(log, "web", -1, make(chan struct{}))
		synctest.Wait()
		serve(log, "web", "first")
		<-f.asked // it does not read on from here
		start := time.Now()
		for i := range 700 {
			serve(log, "web", fmt.Sprint("w", i))
			serve(log, "api", fmt.Sprint("a", i))
		}
		is.Equal(time.Since(start), 0*time.Second) // nobody waited
		close(f.gate)
		time.Sleep(time.Second)
		lines := f.stop(t)

		is.Equal(len(lines), 1+1+250)
		is.Equal(decode(t, lines[0])["request_id"], "first")
		is.Equal(decode(t, lines[1])["level"], "WARN") // there are some missing
		is.Equal(decode(t, lines[1])["lines"], 450.0)  // of this service
		for i, line := range lines[2:] {
			is.Equal(decode(t, line)["request_id"], fmt.Sprint("w", 450+i)) // and no others
		}
	})
}

func TestFollowerOfAQuietServiceMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		log := accesslog.New(io.Discard, accesslog.JSON)
		defer log.Close()
		f := follow(log, "web", 0, nil)
		synctest.Wait()
		for i := range 2000 {
			serve(log, "api", fmt.Sprint(i))
		}
		serve(log, "web", "only")
		lines := f.stop(t)
		is.Equal(len(lines), 1) // none is said to be missing
		is.Equal(decode(t, lines[0])["request_id"], "only")
	})
}

// Nobody who only wants to see what there is waits for what is written meanwhile.
func TestTailEndsWithWhatWasThereWhenItBegan(t *testing.T) {
	is := is.New(t)
	log := accesslog.New(io.Discard, accesslog.JSON)
	defer log.Close()
	program := slog.New(log.Handler(slog.LevelInfo))
	program.Info(strings.Repeat("x", 40<<10))
	program.Info(strings.Repeat("y", 40<<10))
	var times int
	is.NoErr(log.Tail(t.Context(), "", 0, false, func(lines []byte) error {
		times++
		program.Info("z")
		is.True(!bytes.Contains(lines, []byte("z")))
		return nil
	}))
	is.Equal(times, 2) // in two pieces, for they are long
}

func TestTailEndsWithTheErrorOfItsReader(t *testing.T) {
	is := is.New(t)
	log := accesslog.New(io.Discard, accesslog.JSON)
	defer log.Close()
	serve(log, "web", "1")
	gone := errors.New("broken pipe")
	err := log.Tail(t.Context(), "", 0, true, func([]byte) error { return gone })
	is.True(errors.Is(err, gone))
}
