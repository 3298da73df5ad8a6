package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/shahnk19/parachute"
)

// A deploy may want to be agreed to before its switch: the answer then has a line that
// asks for it, and the answer comes as a request of its own.

// ErrRefused says that a deploy was not agreed to.
var ErrRefused = errors.New("refused")

// A Question is what a deploy asks before its switch.
type Question struct {
	Service    string   `json:"service"`
	Generation uint64   `json:"generation"`
	Release    string   `json:"release,omitempty"`
	Targets    []string `json:"targets"` // which are healthy
}

// An agreement answers a Question.
type agreement struct {
	Generation uint64 `json:"generation"`
	Refused    string `json:"refused,omitempty"` // why; empty: it is agreed to
}

const agreementWanted = `the answer to a question in JSON, such as {"generation":42}, or {"generation":42,"refused":"the smoke test failed"}`

// Agree is the Options.Agree for parachute.New. It returns nil at once unless whoever asked
// for the deploy wants to be asked.
func (s *Server) Agree(ctx context.Context, d parachute.Deployment, generation uint64) error {
	answer := s.dispatcher.ask(Question{
		Service: d.Service, Generation: generation, Release: d.Release, Targets: slices.Concat(d.Targets, d.ReadTargets),
	})
	if answer == nil {
		return nil
	}
	select {
	case w := <-answer:
		if w.Refused != "" {
			return &textError{w.Refused, ErrRefused}
		}
		return nil
	case <-ctx.Done():
	}
	text := "nobody has agreed to the switch yet"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		text = fmt.Sprintf("nobody has agreed to the switch within %v", d.Timeouts.Deploy)
	}
	return &textError{text, ErrRefused}
}

// ask has a question asked, and returns where the answer comes, or nil if nobody wants to
// be asked about that deploy.
func (s *dispatcher) ask(q Question) <-chan agreement {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.numbered[q.Generation] {
		if f.wantsQuestion && f.service == q.Service {
			answer := make(chan agreement, 1)
			f.question, f.answer = &q, answer
			f.wakeUp()
			return answer
		}
	}
	return nil
}

// answer passes an agreement on, and reports whether somebody waits for it.
func (s *dispatcher) answer(service string, w agreement) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.numbered[w.Generation] {
		if f.service == service && f.answer != nil {
			f.answer <- w
			f.answer = nil // one is enough
			return true
		}
	}
	return false
}

// agree is the request that an answer comes with.
func (c *handlers) agree(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	told, err := decodeBody[agreement](w, r, agreementWanted)
	if err == nil && !c.server.dispatcher.answer(name, told) {
		err = &textError{fmt.Sprintf("no deploy with generation %d waits for an answer", told.Generation), parachute.ErrNotFound}
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: agree %s: %w", name, err))
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// A conversation answers the questions of one change with a func, which runs beside the
// reading of the proxy's answer.
type conversation struct {
	agree func(ctx context.Context, q Question) error
	tell  func(ctx context.Context, service string, w agreement) error
	lost  func() // is called if an answer could not be sent

	stop    context.CancelFunc // ends the func that runs; nil: none does
	running sync.WaitGroup
}

// ask has a question answered. If another one is being answered, that is given up: the
// proxy asks again if another process makes the change.
func (c *conversation) ask(ctx context.Context, q Question) {
	c.end()
	ctx, c.stop = context.WithCancel(ctx)
	c.running.Go(func() {
		w := agreement{Generation: q.Generation}
		if err := c.agree(ctx, q); err != nil {
			w.Refused = err.Error()
		}
		if ctx.Err() != nil {
			return
		}
		if err := c.tell(ctx, q.Service, w); err != nil && ctx.Err() == nil && !errors.Is(err, parachute.ErrNotFound) {
			c.lost()
		}
	})
}

// end gives up what runs, and returns when it has ended.
func (c *conversation) end() {
	if c.stop != nil {
		c.stop()
	}
	c.running.Wait()
}

// tell answers a question.
func (c *Client) tell(ctx context.Context, service string, w agreement) error {
	return c.send(ctx, http.MethodPost, (&change{service: service, suffix: "/agreement"}).path(), w)
}
