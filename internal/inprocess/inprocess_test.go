package inprocess_test

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/inprocess"
)

func TestCloseReturnsWhenNothingRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var returned atomic.Int32
		s := inprocess.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hijack" {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err == nil {
					io.Copy(io.Discard, conn)
					conn.Close()
				}
			} else {
				<-r.Context().Done()
			}
			time.Sleep(time.Second)
			returned.Add(1)
		}), log.New(io.Discard, "", 0))
		var conns []net.Conn
		for _, path := range []string{"/", "/hijack"} {
			conn, err := s.Dial(t.Context(), "", "")
			is.NoErr(err)
			io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
			conns = append(conns, conn)
		}
		synctest.Wait()
		for _, conn := range conns {
			conn.Close()
		}
		began := time.Now()
		s.Close()
		is.Equal(returned.Load(), int32(2))
		is.Equal(time.Since(began), time.Second)
		_, err := s.Dial(t.Context(), "", "")
		is.True(errors.Is(err, net.ErrClosed))
		s.Close() // again
	})
}

func TestServerThatNobodyDialledHasNothingToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range inprocess.NewAll(map[string]http.Handler{"a": http.NotFoundHandler(), "nil": nil}, slog.Default()) {
			s.Close()
		}
	})
}

func TestDialEndsWithItsContext(t *testing.T) {
	is := is.New(t)
	s := inprocess.New(http.NotFoundHandler(), log.New(io.Discard, "", 0))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Dial(ctx, "", "")
	is.True(errors.Is(err, context.Canceled))
}
