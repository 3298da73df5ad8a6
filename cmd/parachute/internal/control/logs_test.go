package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// A journal is a log of which the test says what it has.
type journal struct {
	lines string
	come  chan string // lines that come
	ended chan error  // how each Tail has ended
}

func newJournal(lines string) *journal {
	return &journal{lines: lines, come: make(chan string), ended: make(chan error, 100)}
}

// logs returns what a server is given, in which a service that is called noted
// has lines. What is asked for is the first line.
func (j *journal) logs() control.Logs {
	return control.Logs{
		ContentType: "text/plain",
		Has:         func(service string) bool { return service == "noted" },
		Tail: func(ctx context.Context, service string, n int, follow bool, write func([]byte) error) error {
			err := j.tail(ctx, fmt.Sprintf("%q %d %v\n", service, n, follow), follow, write)
			j.ended <- err
			return err
		},
	}
}

func (j *journal) tail(ctx context.Context, asked string, follow bool, write func([]byte) error) error {
	err := write([]byte(asked + j.lines))
	for follow && err == nil {
		select {
		case lines := <-j.come:
			err = write([]byte(lines))
		case <-ctx.Done():
			return write([]byte("last\n"))
		}
	}
	return err
}

func TestCurlCanReadTheLog(t *testing.T) {
	p := newPlane(t, parachute.Options{})
	p.server.Logs = newJournal("a\nb\n").logs()
	if _, err := p.client.Deploy(t.Context(), deployment("web"), nil); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"":                            "200 \"\" 0 false\na\nb\n",
		"?service=web":                "200 \"web\" 0 false\na\nb\n",
		"?service=noted&lines=7":      "200 \"noted\" 7 false\na\nb\n", // it is gone, but not forgotten
		"?lines=0&follow=false":       "200 \"\" -1 false\na\nb\n",
		"?service=nobody":             `404 "not_found","message":"parachute: logs: nobody: no such service`,
		"?service=nobody&follow=true": `404 "not_found"`,
		"?lines=-1":                   `400 "invalid","message":"parachute: logs: lines=\"-1\" is no number`,
		"?follow=yes":                 `400 follow=\"yes\" is neither true nor false`,
		"?tail=3":                     `400 unknown parameter \"tail\": want one of service, lines, follow`,
		"?service=%zz":                `400 the query cannot be read`,
		"?lines=99999999999999999999": `400 is no number`,
		"?service=" + strings.Repeat("x", 60<<10): `404 no such service`,
	} {
		t.Run(query[:min(len(query), 40)], func(t *testing.T) {
			is := is.New(t)
			status, answer := p.request(t, "GET", "/v1/logs"+query, "")
			wanted, part, _ := strings.Cut(want, " ")
			is.Equal(fmt.Sprint(status), wanted)
			is.True(strings.Contains(answer, part))
		})
	}
}

func TestServerWithoutALogHasNoLines(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	status, answer := p.request(t, "GET", "/v1/logs", "")
	is.Equal(status, 200)
	is.Equal(answer, "")
	is.True(errors.Is(p.client.Logs(t.Context(), control.LogQuery{Service: "web"}, nil), parachute.ErrNotFound))
}

// read returns what the client of a plane reads.
func (p *plane) read(t *testing.T, q control.LogQuery) string {
	t.Helper()
	var text strings.Builder
	err := p.client.Logs(t.Context(), q, func(line []byte) error {
		text.Write(line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestClientReadsWhatItAsksFor(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	p.server.Logs = newJournal("a\n\nb\n").logs()
	is.Equal(p.read(t, control.LogQuery{}), "\"\" 0 false\na\n\nb\n")
	is.Equal(p.read(t, control.LogQuery{Service: "noted", Lines: 5}), "\"noted\" 5 false\na\n\nb\n")
	is.Equal(p.read(t, control.LogQuery{Lines: -1}), "\"\" -1 false\na\n\nb\n")

	full := errors.New("no space left on device")
	lines := 0
	err := p.client.Logs(t.Context(), control.LogQuery{Follow: true}, func([]byte) error {
		lines++
		return full
	})
	is.True(errors.Is(err, full)) // the caller's own error
	is.Equal(lines, 1)            // ends it at once

	err = (&control.Client{Sockets: []string{p.socket + "2"}}).Logs(t.Context(), control.LogQuery{}, nil)
	is.True(errors.Is(err, control.ErrNoProxy))
}

// A reading is a client that follows a log.
type reading struct {
	lines  chan string
	cancel context.CancelFunc
	ended  chan error
}

func (p *plane) follow(service string) *reading {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{lines: make(chan string, 100), cancel: cancel, ended: make(chan error, 1)}
	go func() {
		r.ended <- p.client.Logs(ctx, control.LogQuery{Service: service, Follow: true}, func(line []byte) error {
			r.lines <- string(line)
			return nil
		})
	}()
	return r
}

func TestFollowerGetsEachLineAsItComes(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	j := newJournal("a\n")
	p.server.Logs = j.logs()
	r := p.follow("noted")
	is.Equal(<-r.lines, "\"noted\" 0 true\n")
	is.Equal(<-r.lines, "a\n")
	j.come <- "b\n"
	is.Equal(<-r.lines, "b\n")
	j.come <- "c\nd\n"
	is.Equal(<-r.lines, "c\n")
	is.Equal(<-r.lines, "d\n")
	r.cancel()
	is.True(errors.Is(<-r.ended, context.Canceled)) // by whom it was asked for
	<-j.ended                                       // the server has noticed
}

func TestShutdownEndsThoseWhoFollow(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	p.server.Logs = newJournal("").logs()
	r := p.follow("")
	<-r.lines
	is.NoErr(p.http.Shutdown(t.Context())) // which waits for them
	err := <-r.ended
	close(r.lines)
	is.Equal(<-r.lines, "last\n") // not before they have had everything
	is.True(errors.Is(err, control.ErrNoProxy))
	is.True(strings.Contains(err.Error(), "has ended"))
}

func TestLostConnectionEndsTheFollowing(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	p.server.Logs = newJournal("").logs()
	r := p.follow("")
	<-r.lines
	is.NoErr(p.http.Close())
	err := <-r.ended
	is.True(errors.Is(err, control.ErrNoProxy))
	is.True(strings.Contains(err.Error(), "was lost"))
}

func TestSoManyMayFollow(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	j := newJournal("")
	p.server.Logs = j.logs()
	const most = 16
	all := make([]*reading, most)
	for i := range all {
		all[i] = p.follow("")
		<-all[i].lines
	}
	err := <-p.follow("").ended
	is.True(strings.Contains(textOf(err), "16 follow it already"))
	status, answer := p.request(t, "GET", "/v1/logs?follow=true", "")
	is.Equal(status, 429)
	is.True(strings.Contains(answer, `"code":"busy"`))
	is.Equal(p.read(t, control.LogQuery{}), "\"\" 0 false\n") // who does not follow is served
	<-j.ended

	all[0].cancel()
	<-j.ended // the proxy has seen it go
	for {
		r := p.follow("")
		select {
		case <-r.lines:
			return // its place is free
		case err := <-r.ended: // not yet, for the answer has to end
			is.True(strings.Contains(textOf(err), "16 follow it already"))
		}
	}
}

func TestFollowerThatDoesNotReadHoldsNoShutdownUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		j := newJournal("a\n")
		server := control.NewServer("v1")
		server.Logs = j.logs()
		proxy := parachute.New(parachute.Options{Notify: server.Notify})
		defer proxy.Close()
		srv := server.HTTPServer(proxy)
		l := newPipe()
		done := make(chan error)
		go serve(srv, l, done)
		c := l.dial()
		_, err := io.WriteString(c, "GET /v1/logs?follow=true HTTP/1.1\r\nHost: x\r\n\r\n")
		is.NoErr(err)
		time.Sleep(time.Hour) // it may take its time
		is.Equal(len(j.ended), 0)
		start := time.Now()
		is.NoErr(srv.Shutdown(t.Context()))
		is.True(time.Since(start) < 1500*time.Millisecond) // fake time; the process has two seconds for it
		is.True(<-j.ended != nil)                          // what it did not take is lost
		is.NoErr(c.Close())
		<-done
	})
}
