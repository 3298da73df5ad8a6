package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// settledTimeout is how long a question waits for the others. Then it is asked again.
const settledTimeout = 5 * time.Second

// A settlement says whether all proxies have drained what a change has replaced.
type settlement struct {
	Settled bool `json:"settled"`
}

// isSettled answers whether the fleet has settled what has become of a service.
func (c *handlers) isSettled(w http.ResponseWriter, r *http.Request) {
	if c.server.Fleet.Settled == nil { // there are no others
		writeJSON(w, http.StatusOK, settlement{true})
		return
	}
	limited, cancel := context.WithTimeout(r.Context(), settledTimeout)
	defer cancel()
	err := c.server.Fleet.Settled(limited, r.PathValue("name"))
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, settlement{true})
	case limited.Err() != nil:
		writeJSON(w, http.StatusOK, settlement{false})
	default:
		writeError(w, &textError{err.Error(), ErrUnsettled})
	}
}

// awaitFleet is for a change of a service whose connection was lost after it had taken
// effect. It returns nil when all proxies of the fleet have drained what that has replaced, or
// when there is no fleet. Unless the proxy is known to be there, it returns nil as well where
// nobody answers: then nothing says that there is one.
func (c *Client) awaitFleet(ctx context.Context, service string, lost error, isThere bool) error {
	answered := time.Now()
	for {
		var told settlement
		err := c.query(ctx, "/v1/fleet/settled/"+url.PathEscape(service), &told)
		switch {
		case errors.Is(err, errNoRoute): // an older one, whose fleet cannot be asked
			return nil
		case err == nil && told.Settled, errors.Is(err, ErrUnsettled):
			return err
		case err == nil:
			answered, isThere = time.Now(), true
			continue
		case !isThere && time.Since(answered) >= outcomeTimeout:
			return nil
		case ctx.Err() != nil, time.Since(answered) >= outcomeTimeout:
			return &textError{
				fmt.Sprintf("the connection to the proxy was lost (%v) after it had taken effect, and whether the other proxies have drained is not known (%v): do not stop the old targets", lost, err),
				ErrUnsettled,
			}
		}
		select {
		case <-time.After(outcomeInterval):
		case <-ctx.Done():
		}
	}
}
