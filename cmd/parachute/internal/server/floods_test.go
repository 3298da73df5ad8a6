package server_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A flooder is a client of HTTP/2 that writes frames, and reads none.
type flooder struct {
	*http2.Framer
	conn net.Conn
}

func newFlooder(t *testing.T, address string) *flooder {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := &flooder{http2.NewFramer(conn, conn), conn}
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f
}

// flood writes until the proxy ends the connection, and returns how often. It is an
// error if that takes more than most times.
func (f *flooder) flood(t *testing.T, most int, write func(i int) error) {
	t.Helper()
	for i := range most {
		if write(i) != nil {
			return
		}
	}
	t.Errorf("the connection goes on after %d frames", most)
}

// encodedGet returns the fields of a GET, encoded.
func encodedGet() []byte {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", host}} {
		e.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return block.Bytes()
}

// What has no end costs no memory without one: the connection is ended, unless what is
// asked is answered and gone, and others are served.
func TestFloodsOfHTTP2EndTheirConnectionInBoundedMemory(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	save(t, c, newApp(t).Listener.Addr().String())
	p := start(t, c)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)

	f := newFlooder(t, p.address) // the head of a request that does not end
	is.NoErr(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encodedGet()}))
	f.flood(t, 4<<10, func(int) error { return f.WriteContinuation(1, false, make([]byte, 16<<10)) })

	f = newFlooder(t, p.address) // answers that nobody reads
	f.flood(t, 4<<20, func(i int) error { return f.WritePing(false, [8]byte{byte(i)}) })
	f = newFlooder(t, p.address) // and answers that are read
	go io.Copy(io.Discard, f.conn)
	for range 20_000 {
		if f.WriteSettings() != nil {
			break
		}
	}

	runtime.GC()
	runtime.ReadMemStats(&after)
	is.True(int64(after.HeapAlloc)-int64(before.HeapAlloc) < 16<<20) // proxy, app and clients are one process here
	is.Equal(p.get("/"), "200 hello")
}

// Rapid reset: requests that are taken back as soon as they were sent.
func TestFloodOfRequestsThatAreResetLeavesNothingBehind(t *testing.T) {
	is := is.New(t)
	var running atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/up" || r.Header.Get("X-Last") != "" {
			io.WriteString(w, "hello")
			return
		}
		running.Add(1)
		defer running.Add(-1)
		<-r.Context().Done()
	}))
	defer app.Close()
	c := newConfig(t)
	save(t, c, app.Listener.Addr().String())
	p := start(t, c)
	f := newFlooder(t, p.address)
	go io.Copy(io.Discard, f.conn)
	block := encodedGet()
	for i := range uint32(5000) {
		stream := 2*i + 1
		if f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true, EndStream: true}) != nil ||
			f.WriteRSTStream(stream, http2.ErrCodeCancel) != nil {
			break // ENHANCE_YOUR_CALM, which is right as well
		}
	}
	r, err := http.NewRequest(http.MethodGet, "http://"+p.address, nil)
	is.NoErr(err)
	r.Header.Set("X-Last", "yes")
	res, err := http.DefaultTransport.RoundTrip(r)
	is.NoErr(err)
	res.Body.Close()
	is.Equal(res.StatusCode, http.StatusOK) // others are served
	for end := time.Now().Add(patience); running.Load() > 0; {
		if time.Now().After(end) {
			t.Fatalf("%d requests still run at the target", running.Load())
		}
		runtime.Gosched()
	}
}
