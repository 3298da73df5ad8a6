//go:build !race

package server_test

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/http2"
)

// A flooded is an app that counts the requests that it has at once.
type flooded struct {
	*httptest.Server
	running, most, all atomic.Int64
}

func newFlooded(t *testing.T) *flooded {
	a := new(flooded)
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *flooded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	running := a.running.Add(1)
	defer a.running.Add(-1)
	a.all.Add(1)
	for most := a.most.Load(); running > most && !a.most.CompareAndSwap(most, running); most = a.most.Load() {
	}
	switch r.URL.Path {
	case "/slow":
		<-r.Context().Done()
	case "/large":
		_, _ = io.Copy(w, io.LimitReader(zeros{}, 8<<20))
	default:
		io.WriteString(w, "hello")
	}
}

// zeros is read without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// heap returns how many bytes the objects on the heap have, dead ones included.
func heap() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// peak returns by how much the heap has grown at most while f ran.
func peak(f func()) (grown int64) {
	before := heap()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			grown = max(grown, heap()-before)
		case <-done:
			return grown
		}
	}
}

// A patientWriter bounds how long a Write may take, and not how long all of them do: how
// fast a flood is depends on the machine.
type patientWriter struct{ net.Conn }

func (w patientWriter) Write(p []byte) (int, error) {
	w.SetWriteDeadline(time.Now().Add(patience))
	return w.Conn.Write(p)
}

// Each attacker sends what costs the server more than himself. The bound of the memory is
// several times what was measured.
func TestFloodsOfHTTP2AllocateLittle(t *testing.T) {
	const frames = 200_000 // that an attacker sends, if nobody stops him
	slow, large := fields("GET", "/slow"), fields("GET", "/large")
	open := func(f *http2.Framer, id uint32, block []byte) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
	}
	for name, tt := range map[string]struct {
		reads bool                                  // the attacker takes what he is sent
		send  func(f *http2.Framer, i uint32) error // the frames with that number
		count uint32
		ended bool  // the connection is ended
		most  int64 // requests at once that reach the app
		fills bool  // all of them are answered, as far as there is room
		gone  bool  // none of them runs on
	}{
		"rapid reset": {true, func(f *http2.Framer, i uint32) error {
			return errors.Join(open(f, 2*i+1, slow), f.WriteRSTStream(2*i+1, http2.ErrCodeCancel))
		}, frames, false, 100, false, true}, // ended only where the server does not keep up
		"more streams than allowed": {true, func(f *http2.Framer, i uint32) error { return open(f, 2*i+1, slow) }, frames, false, 100, false, false},
		"CONTINUATION without end": {true, func(f *http2.Framer, i uint32) error {
			if i == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: slow, EndStream: true})
			}
			return f.WriteContinuation(1, false, make([]byte, 1<<10))
		}, frames, true, 0, false, false},
		"PING, and nothing read":         {false, func(f *http2.Framer, i uint32) error { return f.WritePing(false, [8]byte{}) }, 100 * frames, true, 0, false, false},
		"SETTINGS, and nothing read":     {false, func(f *http2.Framer, i uint32) error { return f.WriteSettings() }, frames, false, 0, false, false},
		"SETTINGS":                       {true, func(f *http2.Framer, i uint32) error { return f.WriteSettings() }, frames, false, 0, false, false},
		"large answers without a window": {true, func(f *http2.Framer, i uint32) error { return open(f, 2*i+1, large) }, 100, false, 100, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := newConfig(t)
			c.NoAccessLog = true
			app := newFlooded(t)
			p := start(t, c)
			deploy(t, c, app.Listener.Addr().String())
			is.Equal(p.get("/"), "200 hello")

			conn, err := net.Dial("tcp", p.address)
			is.NoErr(err)
			defer conn.Close()
			_, err = io.WriteString(conn, http2.ClientPreface)
			is.NoErr(err)
			buffered := bufio.NewWriterSize(patientWriter{conn}, 64<<10)
			f := http2.NewFramer(buffered, conn)
			is.NoErr(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			is.NoErr(f.WriteSettingsAck())
			if tt.reads {
				go io.Copy(io.Discard, conn)
			}
			sent, failed := uint32(0), error(nil)
			grown := peak(func() {
				for ; sent < tt.count && failed == nil; sent++ {
					failed = tt.send(f, sent)
				}
				failed = cmp.Or(failed, buffered.Flush())
				if tt.fills { // what is between the app and the attacker
					for until := time.Now().Add(patience); app.running.Load() < int64(sent) && time.Now().Before(until); {
						runtime.Gosched()
					}
					<-time.After(500 * time.Millisecond)
				}
			})
			timeout, late := errors.AsType[net.Error](failed)
			is.True(!late || !timeout.Timeout()) // it takes what comes, or hangs up
			if tt.ended {
				is.True(failed != nil) // the connection was ended
			}
			is.True(grown < 64<<20)
			is.True(app.most.Load() <= tt.most+1) // a health check beside them
			is.True(!tt.fills || app.most.Load() >= tt.most)
			is.Equal(p.get("/"), "200 hello") // others are served
			for until := time.Now().Add(patience); tt.gone && app.running.Load() > 0; runtime.Gosched() {
				if time.Now().After(until) {
					t.Fatalf("%d requests still run at the app", app.running.Load())
				}
			}
			t.Logf("%d sent, %v; heap at most %.1f MiB more; %d requests reached the app, %d at once",
				sent, failed, float64(grown)/(1<<20), app.all.Load(), app.most.Load())
		})
	}
}
