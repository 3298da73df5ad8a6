package socket

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

func TestItIsNotedSinceWhenAClientTakesNothing(t *testing.T) {
	const size = 16 << 20 // more than the sockets hold
	for name, write := range map[string]func(c *Conn, n int64) (int64, error){
		"Write": func(c *Conn, n int64) (int64, error) {
			m, err := c.Write(make([]byte, n))
			return int64(m), err
		},
		"ReadFrom": func(c *Conn, n int64) (int64, error) {
			src, app := pair(t)
			go app.Write(make([]byte, n))
			return c.ReadFrom(io.LimitReader(src.nc, n))
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c, _ := pair(t)
			_, err := write(c, 10)
			is.NoErr(err)
			is.True(!c.out.stall.HasBegun()) // nothing had to wait
			is.NoErr(c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)))
			n, err := write(c, size)
			is.True(errors.Is(err, os.ErrDeadlineExceeded))
			is.True(n > 0)
			is.True(c.out.stall.HasBegun())
		})
	}
}

// A slowPeer takes a byte each 40 s, if it takes any, and the first one after a second
// if it is quick. The system tells of room only when there is much of it: here never.
type slowPeer struct {
	takes int // bytes, of 5
	quick bool
	room  int // the system finds room for so many that it has not taken
	wrote int
	want  error
	ends  time.Duration // how long it lasts
}

func (p *slowPeer) taken(after time.Duration) int {
	if p.quick && after >= time.Second {
		return min(1+int(after/(40*time.Second)), p.takes)
	}
	return min(int(after/(40*time.Second)), p.takes)
}

// A fullSocket is not found to have room again before its deadline.
type fullSocket struct {
	syscall.RawConn
	deadline *time.Time
}

func (*fullSocket) Control(f func(fd uintptr)) error {
	f(0)
	return nil
}

func (s *fullSocket) Write(step func(fd uintptr) (done bool)) error {
	if step(0) {
		return nil
	}
	time.Sleep(time.Until(*s.deadline))
	return os.ErrDeadlineExceeded
}

// write returns what has become of a write of 5 bytes.
func (p *slowPeer) write(begin func(t *transfer)) (wrote int, err error) {
	start := time.Now()
	var applied time.Time
	var w transfer
	w = transfer{
		deadline: Deadline{Extends: true, Apply: func(t time.Time) error { applied = t; return nil }},
		sys:      &fullSocket{deadline: &applied},
		unsent:   func(uintptr) int { return 10 + w.n - p.taken(time.Since(start)) },
	}
	begin(&w)
	err = w.run(func(fd uintptr) bool {
		before := w.n
		w.n = p.taken(time.Since(start))
		if time.Since(start) > 0 { // the room is found later
			w.n += p.room
		}
		w.err = nil
		if w.n < 5 {
			w.err = syscall.EAGAIN
		}
		return w.record(fd, w.n > before)
	})
	return w.n, err
}

// A client that takes a byte in 40 s is given a minute for each. One that takes nothing
// is not, whatever can be written all the same.
func TestWriteGoesOnForAClientThatIsSlow(t *testing.T) {
	for name, p := range map[string]slowPeer{
		"takes all":                            {5, false, 0, 5, nil, 210 * time.Second},
		"takes no more":                        {3, false, 0, 3, os.ErrDeadlineExceeded, 180 * time.Second},
		"takes no more, and there is room":     {3, false, 1, 4, os.ErrDeadlineExceeded, 180 * time.Second},
		"takes one at once":                    {1, true, 0, 1, os.ErrDeadlineExceeded, 75 * time.Second},
		"takes nothing":                        {0, false, 0, 0, os.ErrDeadlineExceeded, 60 * time.Second},
		"takes nothing, and there is room":     {0, false, 1, 0, os.ErrDeadlineExceeded, 60 * time.Second},
		"takes nothing, and there is all room": {0, false, 5, 0, os.ErrDeadlineExceeded, 60 * time.Second},
	} {
		for limit, begin := range map[string]func(t *transfer){
			"deadline": func(t *transfer) { t.deadline.Set(time.Now().Add(time.Minute)) },
			"patience": func(t *transfer) { t.patience.Store(int64(time.Minute)) },
		} {
			t.Run(name+", "+limit, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					start := time.Now()
					wrote, err := p.write(begin)
					is.Equal(err, p.want)
					is.Equal(wrote, p.wrote)
					is.Equal(time.Since(start), p.ends)
				})
			})
		}
	}
}
