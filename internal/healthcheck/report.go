package healthcheck

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// maxShown bounds how much of an answer's body is in a Report, in bytes.
const maxShown = 200

// A Report is what a Check has seen.
type Report struct {
	Began  time.Time
	Took   time.Duration // until its answer, or until it was given up
	Answer               // zero if there was none; its Body is UTF-8, of no more than 200 bytes of what came
	Error  string        // why there was no answer
	Cause  Cause         // why it did not pass; "": it did
}

// Report makes the check by exchange, within its timeout, and returns what it has seen.
// For an error of exchange, unanswered tells the reason in words and as a Cause. If ctx
// ends meanwhile, the Report says nothing about the server.
func (c *Check) Report(ctx context.Context, exchange Exchange, unanswered func(error) (string, Cause)) Report {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r := Report{Began: time.Now()}
	a, err := c.Ask(ctx, exchange)
	switch {
	case err == nil:
		r.Took, r.Answer, r.Cause = a.Decided.Sub(r.Began), a, c.CauseOf(a)
		r.Body = strings.ToValidUTF8(a.Body[:min(len(a.Body), maxShown)], "\uFFFD")
		return r
	case ctx.Err() != nil:
		r.Error, r.Cause = fmt.Sprintf("none within %v", c.timeout), Timeout
	default:
		r.Error, r.Cause = unanswered(err)
		if c.IsCall() && r.Cause == Malformed {
			r.Cause = NotGRPC
		}
	}
	r.Took = time.Since(r.Began)
	return r
}
