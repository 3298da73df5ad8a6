package rules

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/reason"
	"github.com/shahnk19/parachute/internal/redirects"
)

// passwordLimit bounds the wait for a password to be checked: only so many are
// checked at once.
const passwordLimit = 10 * time.Second

// A Verdict is what Rules make of a request.
type Verdict struct {
	Reason reason.Reason // why it is to be answered in its target's place, or ended; None: it may go on
	Err    error         // what went wrong; nil: nothing did
	IsLast bool          // a connection of HTTP/1 must not be read on after it
	Waited time.Duration // for its password to be checked, or for its body
}

// Admit judges whether r, which came from addr and asks for target, may go to a target of
// the service. If it may not, Admit has set in the header of w what the answer has of
// its own. It waits for at most ten seconds until the request's password is checked, and
// no longer than the client does.
func (rules *Rules) Admit(w http.ResponseWriter, r *http.Request, addr netip.Addr, target string) Verdict {
	if !rules.Networks.IsZero() && !rules.Networks.Allows(addr) {
		return Verdict{Reason: reason.Denied}
	}
	var v Verdict
	if rules.Users != nil {
		if v = rules.authenticate(w, r); v.Reason != reason.None {
			return v
		}
	}
	if location, ok := rules.Redirects.Location(target); ok {
		v.Reason = redirects.Answer(w.Header(), r.Method, location)
	}
	return v
}

// authenticate judges whether r has a user's password.
func (rules *Rules) authenticate(w http.ResponseWriter, r *http.Request) (v Verdict) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), passwordLimit)
	defer cancel()
	ok, err := rules.Users.Allows(ctx, r.Header)
	v.Waited = time.Since(began)
	switch {
	case r.Context().Err() != nil:
		v.Reason, v.Err = reason.Gone, r.Context().Err()
	case err != nil:
		v.Reason, v.Err = reason.Busy, err
	case !ok:
		w.Header()["Www-Authenticate"] = []string{`Basic realm="restricted", charset="UTF-8"`}
		v.Reason = reason.Unauthorized
	}
	return v
}

// A bodyRule says how the bodies of requests are taken.
type bodyRule struct {
	spool *buffer.Store
	ahead bool // they are read to their end
	buffer.Limits
}

// TakeBody returns r with its body limited or buffered as the Settings say, which is a
// copy, or r itself where its body passes as it comes. The caller closes the body that
// is returned, which is that of the copy; it is nil if nothing was buffered. If the Verdict has a
// Reason, neither is returned.
//
// The client of a gRPC call may wait for the answer to its first message before it sends
// the next one. So calls are not buffered if takesCalls, which is only asked about one,
// reports that the service has a target for them.
func (rules *Rules) TakeBody(w http.ResponseWriter, r *http.Request, takesCalls func() bool) (*http.Request, *buffer.Body, Verdict) {
	rule := rules.body
	if rule == nil || r.ContentLength == 0 {
		return r, nil, Verdict{}
	}
	isLimited, isWhole := rule.Size > 0, rule.ahead && !(field.IsCall(r) && takesCalls())
	switch {
	case isLimited && r.ContentLength > rule.Size:
		return nil, nil, Verdict{Reason: reason.RequestTooLarge, Err: buffer.ErrTooLarge, IsLast: true}
	case !isLimited && !isWhole:
		return r, nil, Verdict{}
	case !isWhole:
		return buffer.LimitRequest(r, rule.Size), nil, Verdict{}
	}
	began := time.Now()
	out, body, err := rule.spool.ReadRequest(r, forward.NewTimeoutReader(w, r.Body), rule.Limits)
	v := Verdict{Waited: time.Since(began)}
	if err != nil {
		v.Reason, v.Err, v.IsLast = forward.BodyReason(r, err, reason.BufferedBody), err, true
	}
	return out, body, v
}
