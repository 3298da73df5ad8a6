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
			is.True(c.out.since.IsZero()) // nothing had to wait
			is.NoErr(c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)))
			n, err := write(c, size)
			is.True(errors.Is(err, os.ErrDeadlineExceeded))
			is.True(n > 0)
			is.True(!c.out.since.IsZero())
		})
	}
}

// The system tells of room only when there is much of it, here never. A client
// that takes a byte in 40 s is given a minute for each.
func TestWriteGoesOnForAClientThatIsSlow(t *testing.T) {
	for name, tt := range map[string]struct {
		takes int // bytes, of 5
		room  int // for bytes that it has not taken
		want  error
		ends  time.Duration
	}{
		"takes all":                        {5, 0, nil, 240 * time.Second},
		"takes no more":                    {3, 0, os.ErrDeadlineExceeded, 180 * time.Second},
		"takes no more, and there is room": {3, 1, os.ErrDeadlineExceeded, 180 * time.Second},
		"takes nothing":                    {0, 0, os.ErrDeadlineExceeded, 60 * time.Second},
		"takes nothing, and there is room": {0, 2, os.ErrDeadlineExceeded, 60 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				start := time.Now()
				var applied time.Time
				taken := func() int { return min(int(time.Since(start)/(40*time.Second)), tt.takes) }
				var w transfer
				w = transfer{
					deadline: Deadline{Extends: true, Apply: func(t time.Time) error { applied = t; return nil }},
					control:  func(f func(uintptr)) error { f(0); return nil },
					unsent:   func(uintptr) int { return w.n - taken() },
				}
				w.call = func(step func(uintptr) bool) error {
					if step(0) {
						return nil
					}
					time.Sleep(time.Until(applied))
					return os.ErrDeadlineExceeded
				}
				is.NoErr(w.deadline.Set(start.Add(time.Minute)))
				err := w.run(func(fd uintptr) bool {
					before := w.n
					w.n = taken()
					if time.Since(start) > 0 { // the room is found later
						w.n += tt.room
					}
					w.err = nil
					if w.n < 5 {
						w.err = syscall.EAGAIN
					}
					return w.record(fd, w.n > before)
				})
				is.Equal(err, tt.want)
				is.Equal(w.n, tt.takes+tt.room)
				is.Equal(time.Since(start), tt.ends)
			})
		})
	}
}
