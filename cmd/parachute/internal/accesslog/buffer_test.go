package accesslog_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
)

// An output keeps what it is given, counts how often, and may be made to fail
// or to block.
type output struct {
	mu     sync.Mutex // guards what follows
	b      bytes.Buffer
	writes int
	err    error
	taken  int           // how much of a write that fails is taken
	gate   chan struct{} // if not nil, a write waits for it to be closed
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	gate := o.gate
	o.mu.Unlock()
	if gate != nil {
		<-gate
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes++
	if o.err != nil {
		n := min(o.taken, len(p))
		o.b.Write(p[:n])
		return n, o.err
	}
	return o.b.Write(p)
}

func (o *output) set(err error, taken int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err, o.taken = err, taken
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writes
}

func TestLinesAreWrittenWithin100Milliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		out := new(output)
		log := accesslog.New(out, accesslog.JSON)
		time.Sleep(time.Hour)
		is.Equal(out.count(), 0) // an idle log writes nothing
		log.Observe(newRequest(), newOutcome())
		log.Observe(newRequest(), newOutcome())
		time.Sleep(99 * time.Millisecond)
		synctest.Wait()
		is.Equal(out.count(), 0) // it gathers lines
		time.Sleep(time.Millisecond)
		synctest.Wait()
		is.Equal(out.count(), 1)                       // and writes them at once
		is.Equal(strings.Count(out.String(), "\n"), 2) // all of them
		log.Observe(newRequest(), newOutcome())
		is.NoErr(log.Close())
		is.Equal(strings.Count(out.String(), "\n"), 3) // Close writes the rest
	})
}

func TestFullBufferIsWrittenBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		out := new(output)
		log := accesslog.New(out, accesslog.JSON)
		start := time.Now()
		lines := 0
		add := func(size int) {
			for written := 0; written < size; lines++ {
				log.Observe(newRequest(), newOutcome())
				written += len(observe(t, accesslog.JSON, newRequest(), newOutcome()))
			}
			synctest.Wait()
		}
		add(200 << 10)
		is.Equal(out.count(), 0) // for each write costs
		add(60 << 10)
		is.True(out.count() > 0)                   // some were written
		is.Equal(time.Since(start), 0*time.Second) // and no time has passed
		is.NoErr(log.Close())
		is.Equal(strings.Count(out.String(), "\n"), lines) // none is missing
	})
}

func TestProgramAndRequestsKeepTheirOrder(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	log := accesslog.New(&out, accesslog.JSON)
	program := slog.New(log.Handler(slog.LevelInfo))
	var want []string
	for i := range 500 {
		program.Info("step", "n", i)
		program.Debug("not wanted")
		o := newOutcome()
		o.RequestID = fmt.Sprint("r", i)
		log.Observe(newRequest(), o)
		want = append(want, fmt.Sprintf(`"msg":"step","n":%d}`, i), fmt.Sprintf(`"request_id":"r%d"`, i))
	}
	is.NoErr(log.Close())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	is.Equal(len(lines), len(want)) // one line for each
	for i := range want {
		is.True(strings.Contains(lines[i], want[i])) // in the order in which they were written
	}
}

func TestManyWritersLoseNoLine(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	log := accesslog.New(&out, accesslog.JSON)
	program := slog.New(log.Handler(slog.LevelInfo))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				log.Observe(newRequest(), newOutcome())
				program.Info("step")
			}
		})
	}
	wg.Wait()
	is.NoErr(log.Close())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	is.Equal(len(lines), 8*2*500) // all are there
	for _, line := range lines {
		decode(t, line)
	}
}

func TestOutputThatFailsIsOfferedTheRestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		out := new(output)
		out.set(errors.New("no space left on device"), 10)
		log := accesslog.New(out, accesslog.JSON)
		program := slog.New(log.Handler(slog.LevelInfo))
		program.Info("first")
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		is.Equal(len(out.String()), 10) // part of a line was taken
		program.Info("second")
		out.set(nil, 0)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		is.Equal(len(lines), 2)                       // both lines
		is.Equal(decode(t, lines[0])["msg"], "first") // the torn one is whole
		is.Equal(decode(t, lines[1])["msg"], "second")
		is.NoErr(log.Close())
	})
}

func TestCloseReturnsTheErrorOfTheOutput(t *testing.T) {
	is := is.New(t)
	out := new(output)
	broken := errors.New("broken pipe")
	out.set(broken, 0)
	log := accesslog.New(out, accesslog.JSON)
	slog.New(log.Handler(slog.LevelInfo)).Info("lost")
	is.True(errors.Is(log.Close(), broken)) // it was not written
	is.True(errors.Is(log.Close(), broken)) // nor the second time
}

func TestStalledOutputHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		out := &output{gate: make(chan struct{})}
		log := accesslog.New(out, accesslog.JSON)
		program := slog.New(log.Handler(slog.LevelInfo))
		start := time.Now()
		program.Info("first")
		time.Sleep(time.Second)
		line := strings.Repeat("x", 1<<20)
		for range 6 {
			program.Info(line)
		}
		is.Equal(time.Since(start), time.Second) // nobody waited
		close(out.gate)
		time.Sleep(time.Second)
		program.Info("last")
		is.NoErr(log.Close())

		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		is.Equal(len(lines), 1+3+1+1)                           // 4 MiB could wait
		is.Equal(decode(t, lines[4])["level"], "WARN")          // what was dropped
		is.Equal(decode(t, lines[4])["lines"], 3.0)             // is counted
		is.Equal(decode(t, lines[len(lines)-1])["msg"], "last") // and it goes on
	})
}

func TestCloseGivesUpAnOutputThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		out := &output{gate: make(chan struct{})}
		log := accesslog.New(out, accesslog.JSON)
		program := slog.New(log.Handler(slog.LevelInfo))
		program.Info("first")
		time.Sleep(time.Second) // it is being written
		program.Info("second")
		start := time.Now()
		err := log.Close()
		is.Equal(time.Since(start), 2*time.Second)
		var lost *accesslog.LostError
		is.True(errors.As(err, &lost))
		is.Equal(lost.Lines, 2)
		program.Info("third") // does not wait
		is.Equal(log.Close(), err)
		is.Equal(time.Since(start), 2*time.Second)
		close(out.gate)
	})
}

func TestCloseWaitsForAnOutputThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		out := &output{gate: make(chan struct{})}
		log := accesslog.New(out, accesslog.JSON)
		program := slog.New(log.Handler(slog.LevelInfo))
		for range 3 {
			program.Info(strings.Repeat("x", 1<<20))
		}
		time.AfterFunc(1900*time.Millisecond, func() { close(out.gate) })
		is.NoErr(log.Close())
		is.Equal(strings.Count(out.String(), "\n"), 3) // all is there
	})
}

func TestLinesAfterCloseAreWrittenAtOnce(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	log := accesslog.New(&out, accesslog.Text)
	is.NoErr(log.Close())
	slog.New(log.Handler(slog.LevelInfo)).Info("bye")
	is.True(strings.Contains(out.String(), "msg=bye")) // nothing is lost
	is.NoErr(log.Close())                              // which may be called again
}
