package forward_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

const (
	countedUpload = post + "Content-Length: 1000000\r\n\r\nhello"
	chunkedUpload = post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
)

func TestEarlyAnswerReachesAClientThatWaits(t *testing.T) {
	for name, send := range map[string]string{"counted": countedUpload, "chunked": chunkedUpload} {
		t.Run(name, func(t *testing.T) {
			played(t, send, func(t *testing.T, client net.Conn, p *proxy, c call) {
				is := is.New(t)
				go io.Copy(io.Discard, c.r.Body)
				synctest.Wait()
				res, out := piped(response(413, "", "Content-Length", "2"))
				c.answer <- answer{res: res}
				head, err := proxytest.ReadHead(client)
				is.NoErr(err)
				is.True(strings.HasPrefix(head, "HTTP/1.1 413 "))
				is.True(strings.Contains(head, "\r\nConnection: close\r\n"))
				begun := time.Now()
				io.WriteString(out, "no")
				out.Close()
				is.Equal(nextPiece(is, client), "no")
				is.Equal(time.Since(begun), time.Duration(0))
				got, state := hear(client, time.Minute)
				is.Equal(got, "")
				is.Equal(state, "closed")
				is.True(time.Since(begun) <= 500*time.Millisecond) // the client is not waited for any longer
				o := <-p.outcomes
				is.NoErr(o.err)
				is.Equal(o.Status, 413)
				is.Equal(o.BytesIn, int64(5))
				is.True(o.BodyRead)
			})
		})
	}
}

// The client may want all of the answer before it stops sending.
func TestEarlyAnswerIsThroughToItsEnd(t *testing.T) {
	played(t, chunkedUpload, func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		go io.Copy(io.Discard, c.r.Body)
		synctest.Wait()
		res := response(413, "", "Content-Length", "2")
		res.Body = io.NopCloser(iotest.DataErrReader(strings.NewReader("no"))) // the last bytes come with the end
		begun := time.Now()
		c.answer <- answer{res: res}
		_, err := proxytest.ReadHead(client)
		is.NoErr(err)
		is.Equal(nextPiece(is, client), "no")
		is.Equal(time.Since(begun), time.Duration(0))
	})
}

// Whoever closes a connection on which data arrives resets it, and a reset may
// destroy what the other side has not read yet.
func TestAClientThatGoesOnSendingGetsItsAnswer(t *testing.T) {
	for _, tt := range []struct{ name, send, piece string }{
		{"counted", post + "Content-Length: 100000\r\n\r\n", strings.Repeat("x", 1000)},
		{"chunked", post + "Transfer-Encoding: chunked\r\n\r\n", "3e8\r\n" + strings.Repeat("x", 1000) + "\r\n"},
	} {
		for _, answer := range []answer{
			{res: response(413, "no", "Content-Length", "2")},
			{err: errors.New("broken")},
		} {
			if answer.err != nil && tt.name == "chunked" {
				continue // the end of a running Read spoils the framing
			}
			t.Run(tt.name, func(t *testing.T) {
				played(t, tt.send, func(t *testing.T, client net.Conn, p *proxy, c call) {
					is := is.New(t)
					go io.Copy(io.Discard, c.r.Body)
					sent := make(chan error, 1)
					go func() {
						var err error
						for range 10 {
							time.Sleep(20 * time.Millisecond)
							_, failed := io.WriteString(client, tt.piece)
							err = errors.Join(err, failed)
						}
						sent <- err
					}()
					time.Sleep(50 * time.Millisecond)
					c.answer <- answer
					got, state := hear(client, time.Minute)
					is.True(strings.Contains(got, "\r\nConnection: close\r\n"))
					is.Equal(state, "closed") // and not reset
					is.NoErr(<-sent)
				})
			})
		}
	}
}

// A plain writer hides what the server's can do beyond http.ResponseWriter.
type plain struct{ http.ResponseWriter }

func TestWithoutFullDuplexTheAnswerWaitsForTheBody(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(client net.Conn, body io.ReadCloser)
		want string
	}{
		{"read to its end", func(client net.Conn, body io.ReadCloser) {
			io.WriteString(client, "world")
			io.Copy(io.Discard, body)
		}, "open"},
		{"failed", func(client net.Conn, body io.ReadCloser) {
			client.(interface{ CloseWrite() error }).CloseWrite()
			io.Copy(io.Discard, body)
		}, "closed"},
		{"closed", func(client net.Conn, body io.ReadCloser) {
			body.Close()
			io.WriteString(client, "world") // the server wants it before it writes
		}, "closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				n := new(proxytest.Net)
				x := newExchange()
				p := newProxy(x.Exchange)
				serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(plain{w}, r) }))
				client := dial(t, n)
				io.WriteString(client, post+"Content-Length: 10\r\n\r\nhello")
				c := <-x.calls
				c.answer <- answer{res: response(200, "ok", "Content-Length", "2")}
				got, state := hear(client, 10*time.Second)
				is.Equal(got, "")
				is.Equal(state, "open") // nothing came yet
				tt.end(client, c.r.Body)
				got, state = hear(client, 10*time.Second)
				is.True(strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n"))
				is.Equal(state, tt.want)
			})
		})
	}
}

func TestHTTP1GoesBothWaysAtOnce(t *testing.T) {
	played(t, post+"Transfer-Encoding: chunked\r\n\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		res, out := piped(response(200, ""))
		go echo(out, c.r.Body)
		synctest.Wait() // until the body is waited for
		c.answer <- answer{res: res}
		head, err := proxytest.ReadHead(client)
		is.NoErr(err)
		is.True(strings.Contains(head, "\r\nConnection: close\r\n"))
		for _, piece := range []string{"3\r\none\r\n", "3\r\ntwo\r\n", "5\r\nthree\r\n"} {
			io.WriteString(client, piece)
			is.Equal(nextPiece(is, client), piece)
			time.Sleep(24 * time.Hour) // nobody owes anybody anything
		}
		io.WriteString(client, "0\r\n\r\n")
		got, state := hear(client, time.Second)
		is.Equal(got, "0\r\n\r\n")
		is.Equal(state, "closed")
		o := <-p.outcomes
		is.NoErr(o.err)
		is.Equal(o.BytesIn, int64(11))
		is.Equal(o.BytesOut, int64(11))
	})
}

// echo sends back what comes.
func echo(out *io.PipeWriter, in io.Reader) {
	_, err := io.Copy(out, in)
	out.CloseWithError(err)
}
