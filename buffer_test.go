package parachute_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/buffer"
)

func TestAnswerWithoutRoomIsPassedOnAsItComes(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		spool parachute.Spool
		full  bool
	}{
		"room":      {parachute.Spool{Dir: dir}, false},
		"no room":   {parachute.Spool{Dir: dir, MaxSpool: 500_000}, true},
		"no folder": {parachute.Spool{Dir: dir + "/gone"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				outcomes := make(chan parachute.Outcome, 1)
				h := newHouse(t, parachute.Options{Spool: tt.spool, Observe: func(_ *http.Request, o parachute.Outcome) { outcomes <- o }})
				is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Length", strconv.Itoa(len(large)))
					w.Write(large)
				}, parachute.Deployment{Buffer: parachute.Buffer{Responses: true, Memory: 10_000}, MaxResponseBody: int64(len(large))}))
				resp, body := h.answer("GET", "/", "")
				is.Equal(resp.StatusCode, 200)
				is.Equal(resp.ContentLength, int64(len(large)))
				is.True(body == string(large))
				o := <-outcomes
				is.Equal(errors.Is(o.Unbuffered, buffer.ErrSpool), tt.full)
				is.Equal(o.Reason, "")
				is.Equal(o.BytesOut, int64(len(large)))
			})
		})
	}
}

func TestTrailersOfARequestGoOnWhateverIsDoneWithItsBody(t *testing.T) {
	for name, d := range map[string]parachute.Deployment{
		"nothing":              {},
		"buffered":             {Buffer: parachute.Buffer{Requests: true}},
		"limited":              {MaxRequestBody: 100},
		"buffered and limited": {Buffer: parachute.Buffer{Requests: true}, MaxRequestBody: 100},
	} {
		for announced, header := range map[string]string{"announced": "Trailer: X-Sum\r\n", "not announced": ""} {
			t.Run(name+", "+announced, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					h := newHouse(t, parachute.Options{})
					is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
						body, _ := io.ReadAll(r.Body)
						io.WriteString(w, string(body)+" "+r.Trailer.Get("X-Sum"))
					}, d))
					conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
					is.NoErr(err)
					defer conn.Close()
					_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: any.test\r\n"+header+"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 5\r\n\r\n")
					is.NoErr(err)
					resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
					is.NoErr(err)
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					is.NoErr(err)
					is.Equal(string(body), "body 5")
				})
			})
		}
	}
}

func TestBufferedRequestWithoutTrailersIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strconv.FormatInt(r.ContentLength, 10))
		}, parachute.Deployment{Buffer: parachute.Buffer{Requests: true}}))
		r, err := http.NewRequest("POST", "http://proxy.test/", io.MultiReader(bytes.NewReader([]byte("body")))) // of unknown length
		is.NoErr(err)
		resp, err := h.client.Do(r)
		is.NoErr(err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		is.NoErr(err)
		is.Equal(string(body), "4")
	})
}
