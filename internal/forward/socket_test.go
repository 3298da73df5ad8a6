package forward_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// pattern is what bodies are cut from.
var pattern = bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog. 0123456789\n"), 24000)

// app answers with as many bytes as it is asked for, counted or not, or with
// the sum of what it is sent.
func app(w http.ResponseWriter, r *http.Request) {
	if r.Method == "POST" {
		h := sha256.New()
		n, _ := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
		return
	}
	n, _ := strconv.Atoi(r.FormValue("n"))
	if r.FormValue("counted") != "" {
		w.Header().Set("Content-Length", strconv.Itoa(n))
	}
	for data := pattern[:n]; len(data) > 0; {
		piece := min(len(data), 100000)
		w.Write(data[:piece])
		data = data[piece:]
	}
}

// fronts returns what serves a proxy on a socket of the system, each with a client.
func fronts() map[string]func(t *testing.T, h http.Handler) (client *http.Client, url string) {
	secure := func(t *testing.T, h http.Handler, http2 bool) (client *http.Client, url string) {
		s := httptest.NewUnstartedServer(h)
		s.EnableHTTP2 = http2
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.Client(), s.URL
	}
	return map[string]func(t *testing.T, h http.Handler) (*http.Client, string){
		"plain": func(t *testing.T, h http.Handler) (*http.Client, string) {
			front := proxytest.NewFront(t, h)
			return front.Client(), front.URL
		},
		"TLS":    func(t *testing.T, h http.Handler) (*http.Client, string) { return secure(t, h, false) },
		"HTTP/2": func(t *testing.T, h http.Handler) (*http.Client, string) { return secure(t, h, true) },
	}
}

// What the system's sockets can do, a splice above all, and what they cannot
// do with TLS and HTTP/2 in front, comes out the same.
func TestBodiesAreWholeOnRealSockets(t *testing.T) {
	for name, start := range fronts() {
		t.Run(name, func(t *testing.T) {
			target := httptest.NewServer(http.HandlerFunc(app))
			defer target.Close()
			pool := upstream.New(upstream.Options{Network: "tcp", Address: target.Listener.Addr().String()})
			defer pool.Close()
			p := newProxy(pool.Exchange)
			client, url := start(t, p)

			var clients sync.WaitGroup
			for range 2 {
				clients.Go(func() {
					for _, n := range []int{0, 1, 2000, 5000, 50000, len(pattern)} {
						if err := roundTrips(client, url, n); err != nil {
							t.Errorf("%d bytes: %v", n, err)
							return
						}
					}
				})
			}
			clients.Wait()
			for range len(p.outcomes) {
				if o := <-p.outcomes; o.err != nil {
					t.Error(o.err)
				}
			}
		})
	}
}

// roundTrips gets and posts n bytes.
func roundTrips(client *http.Client, url string, n int) error {
	data := pattern[:n]
	for _, query := range []string{"?counted=1&n=", "?n="} {
		res, err := client.Get(url + "/" + query + strconv.Itoa(n))
		if err != nil {
			return err
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(b, data) {
			return fmt.Errorf("%s: %d bytes came: %v", query, len(b), err)
		}
	}
	for _, body := range []io.Reader{bytes.NewReader(data), struct{ io.Reader }{bytes.NewReader(data)}} {
		res, err := client.Post(url, "a/b", body)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if want := fmt.Sprintf("%d %x", n, sha256.Sum256(data)); err != nil || string(b) != want {
			return fmt.Errorf("%q came, not %q: %v", b, want, err)
		}
	}
	return nil
}

func TestAClientThatLeavesEndsTheTransfer(t *testing.T) {
	is := is.New(t)
	gone := make(chan bool)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		for {
			if _, err := w.Write(pattern); err != nil {
				return
			}
		}
	}))
	defer target.Close()
	pool := upstream.New(upstream.Options{Network: "tcp", Address: target.Listener.Addr().String()})
	defer pool.Close()
	p := newProxy(pool.Exchange)
	front := proxytest.NewFront(t, p)

	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", front.URL, nil)
	is.NoErr(err)
	res, err := front.Client().Do(r)
	is.NoErr(err)
	_, err = io.ReadFull(res.Body, make([]byte, 1000000))
	is.NoErr(err)
	cancel()
	res.Body.Close()
	o := <-p.outcomes
	is.True(o.err != nil)
	is.Equal(o.Status, 200)
	is.True(o.BytesOut >= 1000000)
	<-gone // the target has been told
}

// On HTTP/1.0 the end of the connection is the end of the answer: only a reset
// tells that it was not.
func TestABrokenAnswerToHTTP10IsReset(t *testing.T) {
	for name, dial := range map[string]func(t *testing.T, h http.Handler) (net.Conn, error){
		"plain": func(t *testing.T, h http.Handler) (net.Conn, error) {
			return net.Dial("tcp", proxytest.NewFront(t, h).Address)
		},
		"TLS": func(t *testing.T, h http.Handler) (net.Conn, error) {
			s := httptest.NewTLSServer(h)
			t.Cleanup(s.Close)
			return tls.Dial("tcp", s.Listener.Addr().String(), s.Client().Transport.(*http.Transport).TLSClientConfig)
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			res, out := piped(response(200, ""))
			p := newProxy(answering(func() *http.Response { return res }))
			client, err := dial(t, p)
			is.NoErr(err)
			defer client.Close()
			io.WriteString(client, "GET / HTTP/1.0\r\n\r\n")
			io.WriteString(out, "hello")
			r := bufio.NewReader(client)
			for line := ""; line != "\r\n"; {
				line, err = r.ReadString('\n')
				is.NoErr(err)
			}
			got := make([]byte, 5)
			_, err = io.ReadFull(r, got)
			is.NoErr(err)
			is.Equal(string(got), "hello")
			out.CloseWithError(errors.New("broken"))
			_, err = r.ReadByte()
			is.True(err != nil)
			is.True(err != io.EOF) // which would be the end
			is.Equal((<-p.outcomes).Status, 200)
		})
	}
}
