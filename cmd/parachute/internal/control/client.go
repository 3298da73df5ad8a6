package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute"
)

// A Client speaks to the proxy that answers on one of its sockets.
type Client struct {
	// Sockets are tried in this order.
	Sockets []string
}

// questionTimeout bounds everything that a proxy answers from memory.
const questionTimeout = 10 * time.Second

// Services returns what parachute.Proxy.Services does.
func (c *Client) Services(ctx context.Context) ([]parachute.Status, error) {
	var services []parachute.Status
	err := c.ask(ctx, "/v1/services", &services)
	return services, err
}

// Certificates returns what parachute.Proxy.Certificates does.
func (c *Client) Certificates(ctx context.Context) ([]parachute.Certificate, error) {
	var certificates []parachute.Certificate
	err := c.ask(ctx, "/v1/certificates", &certificates)
	return certificates, err
}

// Version returns who answers.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	err := c.ask(ctx, "/v1/version", &v)
	return v, err
}

// ask gets the answer to a question. It takes no longer than questionTimeout,
// or until ctx ends.
func (c *Client) ask(ctx context.Context, path string, v any) error {
	conn, err := dialFirst(ctx, c.Sockets)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(questionTimeout))
	stop := context.AfterFunc(ctx, conn.expire)
	defer stop()
	resp, err := conn.send(http.MethodGet, path, nil)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return conn.refusal(resp)
		}
		err = json.NewDecoder(resp.Body).Decode(v)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("no answer from the proxy on %s: %w", conn.socket, err)
}

// A conn is a connection to a proxy, for one request.
type conn struct {
	*net.UnixConn
	socket string

	// settled is true when giving up cannot take back what was asked for.
	settled atomic.Bool
}

// expire ends every wait for the other side.
func (c *conn) expire() { _ = c.SetDeadline(time.Now()) }

// giveUp takes back what was asked for. The proxy sees that we hang up, but can
// still say whether it was in time, so that is waited for.
func (c *conn) giveUp() {
	_ = c.CloseWrite()
	if c.settled.Load() {
		c.expire()
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(questionTimeout))
}

// send sends a request and returns the head of the answer, whose body must be
// closed. An answer counts even where the proxy did not want to hear all of
// the request.
func (c *conn) send(method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://parachute"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", contentLines)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Close = true
	writeErr := req.Write(c)
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil && writeErr != nil {
		return nil, &unsentError{writeErr}
	}
	return resp, err
}

// An unsentError says that a proxy never got a whole request.
type unsentError struct{ error }

func (e *unsentError) Unwrap() error { return e.error }

// refusal returns the error that an answer tells of.
func (c *conn) refusal(resp *http.Response) error {
	var l line
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil || l.Error == nil {
		return fmt.Errorf("what answers on %s is no proxy of ours: %s", c.socket, resp.Status)
	}
	return l.Error.err()
}

// Deploy has the proxy do what parachute.Proxy.Deploy does, and returns an
// error in the same case: if nothing was changed. It is the library's error, as
// far as errors.Is and errors.As can tell; ErrNoProxy; or says that it could
// not be learnt what became of the deploy. Every event of the deploy is passed
// to events, which may be nil, on the caller's goroutine.
//
// When ctx ends before the switch the deploy is ended, and Deploy returns once
// the proxy has said that it is. When ctx ends after the switch, or the
// connection does, Deploy returns nil at once and Result.Warning says so. Where
// the connection ends before the switch, Deploy asks for up to 10 s which
// generation serves.
func (c *Client) Deploy(ctx context.Context, d parachute.Deployment, events func(parachute.Event)) (Result, error) {
	body, err := json.Marshal(d)
	if err != nil {
		return Result{}, fmt.Errorf("parachute: deploy %s: %w", d.Service, err)
	}
	return c.change(ctx, &change{
		verb:    "deploy",
		method:  http.MethodPut,
		service: d.Service,
		targets: d.Targets,
		body:    body,
		effect:  parachute.EventSwitched,
		judge:   judgeDeploy,
		events:  events,
	})
}

// Remove has the proxy do what parachute.Proxy.Remove does. All that is said of
// Deploy holds for it too; a service that is gone counts as removed.
func (c *Client) Remove(ctx context.Context, service string, events func(parachute.Event)) (Result, error) {
	return c.change(ctx, &change{
		verb:    "remove",
		method:  http.MethodDelete,
		service: service,
		effect:  parachute.EventRemoved,
		judge:   judgeRemove,
		events:  events,
	})
}

// A change is one that a proxy was asked to make, as far as it has been heard
// of.
type change struct {
	verb, method string
	service      string
	below        string   // the end of the path, behind that of the service
	targets      []string // of a deploy
	body         []byte
	effect       parachute.EventKind // from which on it has happened
	judge        func(ch *change, services []parachute.Status) verdict
	events       func(parachute.Event)

	result Result
}

func (ch *change) describe(err error) error {
	return fmt.Errorf("parachute: %s %s: %w", ch.verb, ch.service, err)
}

// path returns that of the change. The name of the service is for the proxy to judge, so it
// must arrive there whatever it is.
func (ch *change) path() string {
	name := url.PathEscape(ch.service)
	if strings.Trim(name, ".") == "" {
		name = strings.ReplaceAll(name, ".", "%2E")
	}
	return "/v1/services/" + name + ch.below
}

func (c *Client) change(ctx context.Context, ch *change) (Result, error) {
	if ch.service == "" {
		return Result{}, invalid(nil, "parachute: %s: there is no name of a service: want one such as web", ch.verb)
	}
	conn, err := dialFirst(ctx, c.Sockets)
	if err != nil {
		return Result{}, ch.describe(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.giveUp)
	defer stop()

	done, err := ch.follow(ctx, conn)
	switch {
	case done && err != nil:
		return Result{}, err
	case done:
		return ch.result, nil
	case conn.settled.Load() && ctx.Err() != nil:
		ch.result.Warning = "interrupted after it had taken effect: what served before is still being drained, do not stop it yet"
		return ch.result, nil
	case conn.settled.Load():
		ch.result.Warning = fmt.Sprintf("the connection to the proxy was lost after it had taken effect (%v): whether what served before has been drained is not known", err)
		return ch.result, nil
	}
	return ch.settle(ctx, conn.socket, err)
}

// follow asks for the change and reads what comes of it. It reports whether
// the proxy has said how the change ended; else err is why it will not be
// heard.
func (ch *change) follow(ctx context.Context, conn *conn) (done bool, err error) {
	resp, err := conn.send(ch.method, ch.path(), ch.body)
	var unsent *unsentError
	switch {
	case errors.As(err, &unsent) && ctx.Err() != nil:
		return true, ch.describe(context.Cause(ctx))
	case errors.As(err, &unsent):
		return true, ch.describe(fmt.Errorf("the proxy hung up before it was told what to do: %w", err))
	case err != nil:
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return true, conn.refusal(resp)
	}
	lines := json.NewDecoder(resp.Body)
	for {
		var l line
		if err := lines.Decode(&l); errors.Is(err, io.EOF) {
			return false, io.ErrUnexpectedEOF
		} else if err != nil {
			return false, err
		}
		switch {
		case l.Error != nil:
			return true, l.Error.err()
		case l.Result != nil:
			ch.result = *l.Result
			return true, nil
		case l.Event != nil:
			ch.hear(conn, l.Event.event())
		}
		if conn.settled.Load() && ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
	}
}

func (ch *change) hear(conn *conn, e parachute.Event) {
	ch.result.Service, ch.result.Generation = e.Service, e.Generation
	switch e.Kind {
	case ch.effect:
		conn.settled.Store(true)
	case parachute.EventDrained:
		ch.result.Requests, ch.result.Streams = e.Requests, e.Streams
	}
	if ch.events != nil {
		ch.events(e)
	}
}
