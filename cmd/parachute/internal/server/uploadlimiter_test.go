package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
	"golang.org/x/net/http2"
)

// window is what a client may send ahead of one request.
const window = 128 << 10

// Over HTTP/2, one upload whose target did not take it used to stall every other
// of its connection; over HTTP/3 three did.
func TestUploadsThatAreStuckStopOnlyThemselves(t *testing.T) {
	t.Parallel()
	for proto, stuck := range map[string]int{"HTTP/2.0": 30, "HTTP/3.0": 99} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			c := newConfig(t)
			c.HTTP3 = true
			s := startSite(t, c)
			s.deployHeld(t, c)
			client := s.clients(t)[proto]
			is.Equal(answerOf(s.post(t.Context(), client, "/echo", strings.NewReader("a"))), "200 a") // the connection of all
			var uploads []*stuckUpload
			for range stuck {
				u := s.stick(t, client)
				<-u.full
				uploads = append(uploads, u)
			}
			for range 3 {
				sent := strings.Repeat("x", 3*window)
				is.Equal(answerOf(s.post(t.Context(), client, "/echo", strings.NewReader(sent))), "200 "+sent)
			}
			for _, u := range uploads {
				is.Equal(len(u.ended), 0) // they are stuck still
			}
			is.True(!strings.Contains(s.log.String(), "unread uploads")) // this is little, all in all
		})
	}
}

// The documentation of net/http has windows of a connection below 4 MiB.
func TestWindowsOfHTTP2AreThoseThatAreDocumented(t *testing.T) {
	is := is.New(t)
	s := startSite(t, newConfig(t))
	got := s.settings(t)
	is.Equal(got[http2.SettingInitialWindowSize], uint32(window))
}

func TestUnreadUploadsOfAllClientsHaveALimit(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"HTTP/2.0", "HTTP/3.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			c := newConfig(t)
			c.HTTP3 = true
			c.Limits.Unread = 10 * window
			s := startSite(t, c)
			s.deployHeld(t, c)
			small, large := s.clients(t)[proto], s.clients(t)[proto]
			for _, client := range []*http.Client{small, large} { // so that each has one connection
				is.Equal(answerOf(s.post(t.Context(), client, "/echo", strings.NewReader("a"))), "200 a")
			}
			var few, many []*stuckUpload
			for range 3 {
				few = append(few, s.stick(t, small))
			}
			for range 7 {
				many = append(many, s.stick(t, large))
			}
			for _, u := range append(few, many...) {
				<-u.full
			}
			is.True(!strings.Contains(s.log.String(), "unread uploads")) // up to the limit nobody is ended

			s.stick(t, small)
			for _, u := range many {
				is.True(<-u.ended != nil) // the connection with the most
			}
			for _, u := range few {
				is.Equal(len(u.ended), 0) // the others go on, also the one that was too much
			}
			is.True(strings.Contains(s.await(t, "unread uploads"), `"level":"WARN"`))
			is.Equal(answerOf(s.post(t.Context(), large, "/echo", strings.NewReader("a"))), "200 a") // it may come again
		})
	}
}

// A body that somebody waits to read has nothing unread, so that calls which are
// open for long are no reason to end anybody.
func TestUploadsThatAreWaitedForAreNotCounted(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.Limits.Unread = 3 * window
	s := startSite(t, c)
	client := s.clients(t)["HTTP/2.0"]
	var bodies []*io.PipeWriter
	answers := make(chan string, 10)
	for range cap(answers) {
		r, w := io.Pipe()
		bodies = append(bodies, w)
		go func() { answers <- answerOf(s.post(context.Background(), client, "/hold", r)) }()
		_, err := io.WriteString(w, "a")
		is.NoErr(err)
		<-s.app.entered
	}
	for _, w := range bodies {
		is.NoErr(w.Close())
		s.app.release <- struct{}{}
	}
	for range bodies {
		is.Equal(<-answers, "200 hello")
	}
	is.True(!strings.Contains(s.log.String(), "unread uploads"))
}

// Bodies that say how long they are count as that.
func TestShortUploadsCountAsWhatTheyAre(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.Limits.Unread = window
	s := startSite(t, c)
	s.deployHeld(t, c)
	client := s.clients(t)["HTTP/2.0"]
	answers := make(chan string, 20)
	for range cap(answers) {
		go func() { answers <- answerOf(s.post(context.Background(), client, "/held", strings.NewReader("abc"))) }()
	}
	s.awaitHeld(t, c, int64(cap(answers)))
	commands := &control.Client{Sockets: []string{c.Socket}}
	_, err := commands.Resume(t.Context(), "held", nil)
	is.NoErr(err)
	for range cap(answers) {
		is.Equal(<-answers, "200 hello")
	}
	is.True(!strings.Contains(s.log.String(), "unread uploads"))
}

// deployHeld deploys a service below /held and pauses it: what is sent there
// waits, and is not read.
func (s *site) deployHeld(t *testing.T, c server.Config) {
	t.Helper()
	commands := &control.Client{Sockets: []string{c.Socket}}
	services, err := commands.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held := services[0].Deployment
	held.Service, held.PathPrefixes = "held", []string{"/held"}
	if _, err := commands.Deploy(t.Context(), held, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := commands.Pause(t.Context(), "held", parachute.Pause{Max: -1}, nil); err != nil {
		t.Fatal(err)
	}
}

// awaitHeld returns when that many requests wait below /held.
func (s *site) awaitHeld(t *testing.T, c server.Config, n int64) {
	t.Helper()
	commands := &control.Client{Sockets: []string{c.Socket}}
	for end := time.Now().Add(patience); ; {
		services, err := commands.Services(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if services[0].Live.Held == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d requests wait", services[0].Live.Held)
		}
	}
}

// post sends body to a path of the site.
func (s *site) post(ctx context.Context, client *http.Client, path string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", "https://"+s.secure+path, body)
	if err != nil {
		return nil, err
	}
	r.Host = host
	return client.Do(r)
}

// A stuckUpload is one below /held that never ends.
type stuckUpload struct {
	sent  atomic.Int64
	full  chan struct{} // closed when a window of it has been sent
	ended chan error    // gets what came of it
}

// stick begins a stuckUpload, which is ended with the test.
func (s *site) stick(t *testing.T, client *http.Client) *stuckUpload {
	u := &stuckUpload{full: make(chan struct{}), ended: make(chan error, 1)}
	go func() {
		res, err := s.post(t.Context(), client, "/held", u)
		if err == nil {
			res.Body.Close()
			err = errors.New(res.Status)
		}
		u.ended <- err
	}()
	return u
}

func (u *stuckUpload) Read(p []byte) (int, error) {
	clear(p)
	if n := int64(len(p)); u.sent.Add(n) >= window && u.sent.Load()-n < window {
		close(u.full)
	}
	return len(p), nil
}
