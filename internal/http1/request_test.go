package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/http1"
)

func TestRequestHasTheAddressesOfItsConnection(t *testing.T) {
	is := is.New(t)
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr, " ", r.Context().Value(http.LocalAddrContextKey))
	})
	for range 2 { // their requests are made of the same memory
		client := dial()
		br := bufio.NewReader(client)
		for range 2 {
			send(t, client, getting("/"))
			is.Equal(answered(t, br), fmt.Sprint(client.LocalAddr(), " ", client.RemoteAddr()))
		}
		client.Close()
	}
}

func TestContextEndsWithItsRequest(t *testing.T) {
	is := is.New(t)
	kept := make(chan context.Context, 1)
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		derived, cancel := context.WithCancel(r.Context())
		context.AfterFunc(r.Context(), cancel)
		kept <- derived
		fmt.Fprint(w, r.Context().Err())
	})
	client := dial()
	br := bufio.NewReader(client)
	for range 3 {
		send(t, client, getting("/"))
		is.Equal(answered(t, br), fmt.Sprint(nil)) // the next one is not ended by that
		ctx := <-kept
		<-ctx.Done()
		is.Equal(ctx.Err(), context.Canceled)
	}
}

// A listOfListeners cannot be the key of a map.
type listOfListeners []net.Listener

func (l listOfListeners) Accept() (net.Conn, error) { return l[0].Accept() }
func (l listOfListeners) Close() error              { return l[0].Close() }
func (l listOfListeners) Addr() net.Addr            { return l[0].Addr() }

func TestServerServesSeveralListenersAtOnce(t *testing.T) {
	is := is.New(t)
	server := &http1.Server{Handler: answer("ok")}
	served := make(chan error)
	listeners := make([]net.Listener, 3)
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		is.NoErr(err)
		listeners[i] = listOfListeners{l}
		go func() { served <- server.Serve(listeners[i]) }()
	}
	for _, l := range listeners {
		client, err := net.Dial("tcp", l.Addr().String())
		is.NoErr(err)
		defer client.Close()
		send(t, client, getting("/"))
		is.Equal(answered(t, bufio.NewReader(client)), "ok")
	}
	is.NoErr(server.Close())
	is.NoErr(server.Close())
	for range listeners {
		is.Equal(<-served, http.ErrServerClosed)
	}
	for _, l := range listeners {
		_, err := net.Dial("tcp", l.Addr().String())
		is.True(err != nil) // it is closed
	}
	is.NoErr(server.Shutdown(t.Context()))
}

// Whoever keeps a body does not read the next request.
func TestWritesBetweenFlushesAreOneChunk(t *testing.T) {
	is := is.New(t)
	client, err := net.Dial("tcp", start(t, ours(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		for _, piece := range []string{"a", "b", "c"} {
			io.WriteString(w, piece)
		}
	}))))
	is.NoErr(err)
	defer client.Close()
	io.WriteString(client, get+"Connection: close\r\n\r\n")
	got, err := io.ReadAll(client)
	is.NoErr(err)
	_, body, _ := strings.Cut(string(got), "\r\n\r\n")
	is.Equal(body, "3\r\nabc\r\n0\r\n\r\n")
}

func TestBodyThatIsKeptGivesNothingOfTheNextRequest(t *testing.T) {
	is := is.New(t)
	var reading sync.WaitGroup
	defer reading.Wait()
	kept := make(chan string, 100)
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		body := r.Body
		reading.Go(func() {
			read, _ := io.ReadAll(body)
			if len(read) > 5 {
				read = read[:5]
			}
			select {
			case kept <- string(bytes.Trim(read, "hello")):
			default:
			}
			if _, err := body.Read(make([]byte, 1)); err == nil {
				kept <- "a read without an error"
			}
		})
		fmt.Fprint(w, r.URL.Path)
	})
	client := dial()
	all := make([]sent, 50)
	for i := range all {
		all[i] = sent{"POST", "/POST", "Content-Length: 5\r\n", "hello"}
	}
	send(t, client, all...)
	is.Equal(answers(client, all), strings.Repeat("/POST\n", len(all)))
	reading.Wait()
	for range all {
		is.Equal(<-kept, "")
	}
}

func TestCloseOfABodyDoesNotWaitForARead(t *testing.T) {
	is := is.New(t)
	read := make(chan error, 1)
	client := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		begun := make(chan struct{})
		go func() {
			b := make([]byte, 10)
			io.ReadFull(r.Body, b[:5])
			close(begun)
			_, err := r.Body.Read(b)
			read <- err
		}()
		<-begun
		r.Body.Close()
		io.WriteString(w, "closed")
	})()
	send(t, client, sent{"POST", "/", "Content-Length: 10\r\n", "hello"})
	br := bufio.NewReader(client)
	is.Equal(answered(t, br), "closed")
	_, err := br.ReadByte()
	is.Equal(err, io.EOF) // a body that somebody reads holds no connection
	is.True(<-read != nil)
}

func TestPanicIsLoggedAndEndsItsRequestAlone(t *testing.T) {
	logged := make(chan string, 10)
	server := &http1.Server{ErrorLog: log.New(writerFunc(func(p []byte) (int, error) {
		logged <- string(p)
		return len(p), nil
	}), "", 0)}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/nil":
			panic(nil)
		case "/hijack":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(conn, "taken")
			conn.(interface{ CloseWrite() error }).CloseWrite()
			panic("behind a hijack")
		case "/panic":
			panic("for a reason")
		}
		io.WriteString(w, "ok")
	})
	address := start(t, server)
	for path, tt := range map[string]struct{ answer, log string }{
		"/abort":  {"", ""},
		"/nil":    {"", "panic called with nil"},
		"/hijack": {"taken", "behind a hijack"},
		"/panic":  {"", "for a reason"},
	} {
		t.Run(path, func(t *testing.T) {
			is := is.New(t)
			var clients [2]net.Conn
			for i := range clients {
				var err error
				clients[i], err = net.Dial("tcp", address)
				is.NoErr(err)
				defer clients[i].Close()
			}
			send(t, clients[0], sent{"POST", path, "Content-Length: 5\r\n", ""}) // a body that nobody has read
			got, err := io.ReadAll(clients[0])
			is.NoErr(err)
			is.Equal(string(got), tt.answer)
			send(t, clients[1], getting("/"))
			is.Equal(answered(t, bufio.NewReader(clients[1])), "ok")
			if tt.log == "" {
				is.Equal(len(logged), 0)
				return
			}
			line := <-logged // after a hijack, it comes when the client has its answer
			is.True(strings.Contains(line, tt.log))
			is.True(strings.Contains(line, "request_test.go")) // where it was
		})
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRefusedRequestForAHeadGetsNoBody(t *testing.T) {
	for name, raw := range map[string]string{
		"another version":      "HEAD / HTTP/2.0\r\nHost: h\r\n\r\n",
		"two hosts":            head + "Host: h\r\n\r\n",
		"behind an empty line": "\r\n" + head + "X: a\nb\r\n\r\n",
		"behind another":       get + "\r\n" + head + "X\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client := serveSockets(t, nothing)()
			_, err := io.WriteString(client, raw)
			is.NoErr(err)
			got, err := io.ReadAll(client)
			is.NoErr(err)
			is.True(strings.HasSuffix(string(got), "\r\n\r\n"))
			is.True(strings.Contains(string(got), "Connection: close\r\nContent-Length: ")) // what another method would get
		})
	}
}

// What is no socket is read to find out whether the client has left.
func TestHijackGetsWhatWasReadToFindTheClientThere(t *testing.T) {
	for name, rest := range map[string]string{"a byte": "x", "more": strings.Repeat("xyz", 10_000)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				client := serveMemory(t, &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(5 * time.Second)
					conn, rw, err := http.NewResponseController(w).Hijack()
					if err != nil {
						panic(err)
					}
					defer conn.Close()
					got := make([]byte, len(rest))
					_, err = io.ReadFull(rw, got)
					fmt.Fprint(conn, string(got) == rest, err)
				})})()
				io.WriteString(client, get+"\r\n")
				time.Sleep(3 * time.Second)
				io.WriteString(client, rest)
				got, err := io.ReadAll(client)
				is.NoErr(err)
				is.Equal(string(got), "true <nil>")
			})
		})
	}
}

func TestDeadlinesOfAHandlerEndWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ended := make(chan error, 1)
		client := serveMemory(t, &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/deadlines":
				rc := http.NewResponseController(w)
				rc.SetReadDeadline(time.Now().Add(time.Second))
				rc.SetWriteDeadline(time.Now().Add(time.Second))
			case "/read":
				time.Sleep(10 * time.Second)
				_, err := io.Copy(w, r.Body)
				ended <- err
			case "/write":
				_, err := w.Write(make([]byte, 1<<20))
				ended <- err
			}
		})})()
		br := bufio.NewReader(client)
		send(t, client, getting("/deadlines"))
		is.Equal(answered(t, br), "")
		time.Sleep(30 * time.Second)
		send(t, client, sent{"POST", "/read", "Content-Length: 2\r\n", "a"})
		time.Sleep(30 * time.Second)
		io.WriteString(client, "b")
		is.Equal(answered(t, br), "ab")
		is.NoErr(<-ended)
		send(t, client, getting("/deadlines"))
		is.Equal(answered(t, br), "")
		begun := time.Now()
		send(t, client, getting("/write"))
		is.True(errors.Is(<-ended, os.ErrDeadlineExceeded))
		is.Equal(time.Since(begun), time.Minute) // that of the server holds again
	})
}

func TestHandshakeHasTheTimeOfAHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		server := &http1.Server{Handler: answer("ok"), TLSConfig: &tls.Config{}}
		for _, hello := range []string{"", "\x16\x03\x01\x02\x00"} {
			client := serveMemory(t, server)()
			begun := time.Now()
			io.WriteString(client, hello)
			_, err := io.Copy(io.Discard, client)
			is.NoErr(err)
			is.Equal(time.Since(begun), 10*time.Second)
		}
	})
}

func TestRequestWithoutTLSIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client := serveMemory(t, &http1.Server{Handler: answer("ok"), TLSConfig: &tls.Config{}})()
		send(t, client, getting("/"))
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		is.NoErr(err)
		is.Equal(res.StatusCode, http.StatusBadRequest)
		is.True(res.Close)
	})
}
