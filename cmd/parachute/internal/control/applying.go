package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/shahnk19/parachute"
)

// Export returns a Document of what is deployed.
func (c *Client) Export(ctx context.Context) (Document, error) {
	var d Document
	err := c.query(ctx, "/v1/export", &d)
	return d, err
}

// An Application is a Document that is to be applied.
type Application struct {
	Document []byte // as a file has it
	Prune    bool   // what is not in it is removed
	DryRun   bool   // nothing is changed

	Plan   func([]parachute.Step) // is called first; nil: nobody asks
	Events func(parachute.Event)  // is called with every event; nil: likewise
}

// Apply has the proxy call parachute.Proxy.Apply. An error means that nothing was
// changed, unless it says that the outcome is unknown; it is as Deploy's. If ctx ends or
// the connection is lost after the switch, Apply returns nil, with an Applied.Warning.
func (c *Client) Apply(ctx context.Context, a Application) (Applied, error) {
	return askAgain(ctx, func() (Applied, error) { return c.applyOnce(ctx, &a) })
}

func (c *Client) applyOnce(ctx context.Context, a *Application) (Applied, error) {
	conn, err := c.dialFirst(ctx)
	if err != nil {
		return Applied{}, fmt.Errorf("parachute: apply: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.cancelRequest)
	defer stop()
	query := url.Values{}
	if a.Prune {
		query.Set("prune", "true")
	}
	if a.DryRun {
		query.Set("dry_run", "true")
	}
	applied, changed, err := a.follow(ctx, conn, "/v1/services?"+query.Encode())
	var lost *lostError
	switch {
	case !errors.As(err, &lost):
		return applied, err
	case conn.tookEffect.Load() && ctx.Err() != nil:
		applied.Warning = "interrupted after it had taken effect: what served before is still being drained, do not stop it yet"
		return applied, nil
	case conn.tookEffect.Load():
		applied.Warning = fmt.Sprintf("the connection to the proxy was lost after it had taken effect (%v): whether what served before has been drained is not known", lost.error)
		same := &Client{Sockets: []string{conn.socket}, OwnOnly: c.OwnOnly}
		for _, service := range changed {
			if err := same.awaitFleet(ctx, service, lost.error, false); err != nil {
				return applied, fmt.Errorf("parachute: apply: %w", err)
			}
		}
		return applied, nil
	case ctx.Err() != nil:
		return applied, fmt.Errorf("parachute: apply: %w", context.Cause(ctx))
	}
	return applied, fmt.Errorf("parachute: apply: the connection to the proxy was lost (%w) before it said how this ended: apply it again with a dry run to see what is still to be done", lost.error)
}

// A lostError is why an answer ended too early.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// follow sends the Document and reads the answer, of which changed are the services.
func (a *Application) follow(ctx context.Context, conn *proxyConn, path string) (applied Applied, changed []string, err error) {
	resp, err := conn.send(http.MethodPut, path, a.Document)
	if err != nil {
		return applied, changed, &lostError{err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return applied, changed, conn.readError(resp)
	}
	lines := json.NewDecoder(bufio.NewReader(resp.Body))
	for {
		var l message
		if err := lines.Decode(&l); errors.Is(err, io.EOF) {
			return applied, changed, &lostError{io.ErrUnexpectedEOF}
		} else if err != nil {
			return applied, changed, &lostError{err}
		}
		switch {
		case l.Error != nil:
			return applied, changed, l.Error.err()
		case l.Applied != nil:
			return *l.Applied, changed, nil
		case l.Event != nil:
			e := l.Event.event()
			if e.Kind == parachute.EventSwitched || e.Kind == parachute.EventRemoved {
				conn.tookEffect.Store(true)
			}
			if a.Events != nil {
				a.Events(e)
			}
		case l.Plan != nil:
			applied, changed = appliedOf(*l.Plan), changedBy(*l.Plan)
			if a.Plan != nil {
				a.Plan(*l.Plan)
			}
		}
		if conn.tookEffect.Load() && ctx.Err() != nil {
			return applied, changed, &lostError{context.Cause(ctx)}
		}
	}
}
