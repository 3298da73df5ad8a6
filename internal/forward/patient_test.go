package forward_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestPatientReaderGivesTheClientAMinuteForEachRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		type read struct {
			body string
			err  error
		}
		reads := make(chan read, 1)
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(forward.NewTimeoutReader(w, r.Body))
			reads <- read{string(b), err}
			time.Sleep(time.Hour) // which the client is not timed in
			if r.Context().Err() != nil {
				w.WriteHeader(http.StatusRequestTimeout)
			}
		}))

		slow := dial(t, n)
		io.WriteString(slow, post+"Content-Length: 3\r\n\r\n")
		for range 3 {
			time.Sleep(55 * time.Second)
			io.WriteString(slow, "x")
		}
		is.Equal(<-reads, read{"xxx", nil})
		head, err := proxytest.ReadHead(slow)
		is.NoErr(err)
		is.Equal(head[:len("HTTP/1.1 200 ")], "HTTP/1.1 200 ")

		silent := dial(t, n)
		io.WriteString(silent, post+"Content-Length: 3\r\n\r\nx")
		begun := time.Now()
		got := <-reads
		is.True(errors.Is(got.err, os.ErrDeadlineExceeded))
		is.Equal(got.body, "x")
		is.Equal(time.Since(begun), time.Minute)
	})
}
