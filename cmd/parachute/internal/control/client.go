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

// A Client talks to the first proxy that answers on its sockets.
type Client struct {
	// Sockets are tried in this order.
	Sockets []string

	// OwnOnly are those of Sockets that lie where anybody may have put them.
	// Unless the Client runs as root, it speaks to one only if that, and the
	// process behind it, belong to root or to its own user: it sends deployments
	// there, and trusts the answers. At other sockets it speaks to whoever lets
	// it in.
	OwnOnly []string
}

// queryTimeout bounds every query that a proxy answers from memory.
const queryTimeout = 10 * time.Second

// Services returns the result of parachute.Proxy.Services.
func (c *Client) Services(ctx context.Context) ([]parachute.Status, error) {
	var services []parachute.Status
	err := c.query(ctx, "/v1/services", &services)
	return services, err
}

// Service returns the result of parachute.Proxy.Service. A proxy of an older version, which
// cannot be asked for one service, is asked for all.
func (c *Client) Service(ctx context.Context, name string) (parachute.Status, error) {
	var s parachute.Status
	err := c.query(ctx, (&change{service: name}).path(), &s)
	if !errors.Is(err, errNoRoute) {
		return s, err
	}
	services, err := c.Services(ctx)
	if err != nil {
		return parachute.Status{}, err
	}
	for _, s := range services {
		if s.Service == name {
			return s, nil
		}
	}
	return parachute.Status{}, parachute.ErrNotFound
}

// Certificates returns the result of parachute.Proxy.Certificates.
func (c *Client) Certificates(ctx context.Context) ([]parachute.Certificate, error) {
	var certificates []parachute.Certificate
	err := c.query(ctx, "/v1/certificates", &certificates)
	return certificates, err
}

// Version returns the version of the proxy.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	err := c.query(ctx, "/v1/version", &v)
	return v, err
}

// send sends v with a request whose answer says nothing, within queryTimeout or until ctx
// ends.
func (c *Client) send(ctx context.Context, method, path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.exchange(ctx, method, path, body, nil)
}

// query gets path and decodes the answer into v, within queryTimeout or until ctx
// ends.
func (c *Client) query(ctx context.Context, path string, v any) error {
	return c.call(ctx, http.MethodGet, path, v)
}

// call sends a request without a body, and decodes the answer as query does, unless v is
// nil.
func (c *Client) call(ctx context.Context, method, path string, v any) error {
	return c.exchange(ctx, method, path, nil, v)
}

func (c *Client) exchange(ctx context.Context, method, path string, body []byte, v any) error {
	conn, err := c.dialFirst(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(queryTimeout))
	stop := context.AfterFunc(ctx, conn.expire)
	defer stop()
	resp, err := conn.send(method, path, body)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return conn.readError(resp)
		}
		if v != nil {
			err = decodeAnswer(resp, v)
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("no answer from the proxy on %s: %w", conn.socket, err)
}

// decodeAnswer decodes an answer into v, which may do that itself.
func decodeAnswer(resp *http.Response, v any) error {
	own, ok := v.(interface{ parseJSON(text string) error })
	if !ok {
		return json.NewDecoder(resp.Body).Decode(v)
	}
	var text strings.Builder
	text.Grow(int(min(max(resp.ContentLength, 0), maxRoom)))
	if _, err := io.Copy(&text, resp.Body); err != nil {
		return err
	}
	return own.parseJSON(text.String())
}

// maxRoom is how much memory is made for an answer before it comes.
const maxRoom = 64 << 20

// A proxyConn is a connection to a proxy, for one request.
type proxyConn struct {
	*net.UnixConn
	socket string

	// tookEffect says that the change has taken effect and cannot be canceled.
	tookEffect atomic.Bool
}

// expire ends all reads and writes.
func (c *proxyConn) expire() { _ = c.SetDeadline(time.Now()) }

// cancelRequest cancels the change by closing the sending side. Unless the change
// has taken effect, the connection still waits for the proxy's answer, which says
// whether it was canceled in time.
func (c *proxyConn) cancelRequest() {
	_ = c.CloseWrite()
	if c.tookEffect.Load() {
		c.expire()
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(queryTimeout))
}

// send sends a request and returns the response, whose body the caller must
// close. It returns a response even if the proxy did not read the whole request.
func (c *proxyConn) send(method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://parachute"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", contentLines)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.exchange(req)
}

// exchange is send for a request that is made already.
func (c *proxyConn) exchange(req *http.Request) (*http.Response, error) {
	req.Close = true
	writeErr := req.Write(c)
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil && writeErr != nil {
		return nil, &sendError{writeErr}
	}
	return resp, err
}

// A sendError says that a proxy never got a whole request.
type sendError struct{ error }

func (e *sendError) Unwrap() error { return e.error }

// readError returns the error in a response.
func (c *proxyConn) readError(resp *http.Response) error {
	var l message
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil || l.Error == nil {
		return fmt.Errorf("what answers on %s is no proxy of ours: %s", c.socket, resp.Status)
	}
	return l.Error.err()
}

// Deploy has the proxy call parachute.Proxy.Deploy. As there, an error means that
// nothing was changed, unless it says that the outcome is unknown. The error
// matches the library's error with errors.Is and errors.As, or is ErrNoProxy.
// Deploy calls events, unless it is nil, with every event of the deploy, on the
// caller's goroutine.
//
// If ctx ends before the switch, the deploy is canceled, and Deploy returns when
// the proxy has confirmed that. If ctx ends after the switch, Deploy returns
// parachute.ErrUndecided at once; the deploy goes on. If the connection is lost after
// the switch, Deploy asks the proxy until the deploy has ended, or returns
// parachute.ErrUndecided when nobody has answered for 10 s. If the connection is lost
// before the switch, Deploy asks the proxy for up to 10 s which generation serves.
func (c *Client) Deploy(ctx context.Context, d parachute.Deployment, events func(parachute.Event)) (Result, error) {
	return c.DeployIn(ctx, d, Manner{}, events)
}

// DeployIn is Deploy in a manner. With Manner.DryRun the proxy calls
// parachute.Proxy.Check, and there are no events.
func (c *Client) DeployIn(ctx context.Context, d parachute.Deployment, how Manner, events func(parachute.Event)) (Result, error) {
	return c.deploy(ctx, http.MethodPut, d.Service, d.Targets, d, how, events)
}

// Amend is DeployIn of what a service serves, as patch, which is a JSON merge patch,
// changes it: the proxy calls parachute.Proxy.Amend. targets are those in it.
func (c *Client) Amend(ctx context.Context, service string, targets []string, patch map[string]any, how Manner, events func(parachute.Event)) (Result, error) {
	return c.deploy(ctx, http.MethodPatch, service, targets, patch, how, events)
}

func (c *Client) deploy(ctx context.Context, method, service string, targets []string, what any, how Manner, events func(parachute.Event)) (Result, error) {
	body, err := json.Marshal(what)
	if err != nil {
		return Result{}, fmt.Errorf("parachute: deploy %s: %w", service, err)
	}
	return c.change(ctx, &change{
		verb:    "deploy",
		method:  method,
		service: service,
		suffix:  how.query(),
		targets: targets,
		body:    body,
		effect:  parachute.EventSwitched,
		check:   checkDeploy,
		events:  events,
		agree:   how.Agree,
	})
}

// Remove has the proxy call parachute.Proxy.Remove. It behaves like Deploy; after
// a lost connection, a service that is gone counts as removed.
func (c *Client) Remove(ctx context.Context, service string, events func(parachute.Event)) (Result, error) {
	return c.change(ctx, &change{
		verb:    "remove",
		method:  http.MethodDelete,
		service: service,
		effect:  parachute.EventRemoved,
		check:   checkRemove,
		events:  events,
	})
}

// A change is a change that a proxy was asked to make, and what is known of its
// result.
type change struct {
	verb, method string
	service      string
	suffix       string   // the end of the path, after the name of the service
	targets      []string // the targets of a deploy
	body         []byte
	effect       parachute.EventKind // the event by which the change takes effect
	check        func(ch *change, services []parachute.Status) verdict
	events       func(parachute.Event)
	agree        func(ctx context.Context, q Question) error // nil: nothing is asked

	result Result
}

func (ch *change) describe(err error) error {
	return fmt.Errorf("parachute: %s %s: %w", ch.verb, ch.service, err)
}

// path returns the path of the change. It escapes the name of the service, which
// the proxy validates, so that any name arrives there.
func (ch *change) path() string {
	name := url.PathEscape(ch.service)
	if strings.Trim(name, ".") == "" {
		name = strings.ReplaceAll(name, ".", "%2E")
	}
	return "/v1/services/" + name + ch.suffix
}

// change has a proxy make a change: the one that has taken the place of the other, if
// that was being replaced.
func (c *Client) change(ctx context.Context, ch *change) (Result, error) {
	return askAgain(ctx, func() (Result, error) { return c.changeOnce(ctx, ch) })
}

// maxAttempts is how often a change is asked for that another process is to make.
const maxAttempts = 5

// askAgain asks for a change until the process that is asked is not being replaced.
func askAgain[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	result, err := ask()
	for attempt := 1; errors.Is(err, ErrHandedOver) && ctx.Err() == nil && attempt < maxAttempts; attempt++ {
		result, err = ask()
	}
	return result, err
}

func (c *Client) changeOnce(ctx context.Context, ch *change) (Result, error) {
	if ch.service == "" {
		return Result{}, invalid(nil, "parachute: %s: there is no name of a service: want one such as web", ch.verb)
	}
	conn, err := c.dialFirst(ctx)
	if err != nil {
		return Result{}, ch.describe(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.cancelRequest)
	defer stop()

	done, err := ch.follow(ctx, conn)
	switch {
	case done && errors.Is(err, parachute.ErrUndecided) && conn.tookEffect.Load(): // until the proxy is back
	case done && err != nil:
		return Result{}, err
	case done:
		return ch.result, nil
	}
	same := &Client{Sockets: []string{conn.socket}, OwnOnly: c.OwnOnly}
	result, ended := ch.afterLoss(ctx, conn, same, err)
	if ended == nil && ctx.Err() == nil {
		hasAnswered := !conn.tookEffect.Load() || ch.effect == parachute.EventSwitched
		if unsettled := same.awaitFleet(ctx, ch.service, err, hasAnswered); unsettled != nil {
			ended = ch.describe(unsettled)
		}
	}
	return result, ended
}

// afterLoss finds out what the proxy has made of a change whose connection was lost. same asks
// the proxy that it was lost to.
func (ch *change) afterLoss(ctx context.Context, conn *proxyConn, same *Client, err error) (Result, error) {
	switch {
	case !conn.tookEffect.Load():
		return ch.findOutcome(ctx, same, err)
	case ch.effect == parachute.EventSwitched: // which can be taken back
		return ch.findEnd(ctx, same, err)
	case ctx.Err() != nil:
		ch.result.Warning = "interrupted after it had taken effect: what served before is still being drained, do not stop it yet"
	default:
		ch.result.Warning = fmt.Sprintf("the connection to the proxy was lost after it had taken effect (%v): whether what served before has been drained is not known", err)
	}
	return ch.result, nil
}

// follow sends the change and reads the answer. It reports whether the proxy has
// said how the change ended; if not, err is why.
func (ch *change) follow(ctx context.Context, conn *proxyConn) (done bool, err error) {
	resp, err := conn.send(ch.method, ch.path(), ch.body)
	var unsent *sendError
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
		return true, conn.readError(resp)
	}
	asked := conversation{agree: ch.agree, tell: (&Client{Sockets: []string{conn.socket}}).tell, lost: conn.cancelRequest}
	defer asked.end()
	lines := json.NewDecoder(resp.Body)
	for {
		var l message
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
			ch.handleEvent(conn, l.Event.event())
		case l.Question != nil && ch.agree != nil:
			asked.ask(ctx, *l.Question)
		}
		if conn.tookEffect.Load() && ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
	}
}

func (ch *change) handleEvent(conn *proxyConn, e parachute.Event) {
	ch.result.Service, ch.result.Generation = e.Service, e.Generation
	if e.Kind == parachute.EventSwitched {
		ch.result.Difference = e.Difference
	}
	switch e.Kind {
	case ch.effect:
		conn.tookEffect.Store(true)
	case parachute.EventDrained:
		ch.result.Requests, ch.result.Streams = e.Requests, e.Streams
	}
	if ch.events != nil {
		ch.events(e)
	}
}
