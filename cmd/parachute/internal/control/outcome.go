package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shahnk19/parachute"
)

// The times for finding out the outcome of a change after a lost connection.
const (
	outcomeTimeout = 10 * time.Second

	// outcomeInterval is the pause between two questions.
	outcomeInterval = 100 * time.Millisecond

	// outcomeSettled is how long a change must be seen not to have happened. The
	// proxy ends it when it sees that we are gone, unless it is just being
	// committed.
	outcomeSettled = time.Second
)

// A verdict is what a list of services says about a change.
type verdict int

const (
	notHappened verdict = iota
	happened
	superseded // something newer has
	failed     // it has, but what serves cannot
	unknown
)

// checkDeploy says whether a deploy serves. A proxy that was restarted may have
// given its number to another, so the targets have to be the same as well.
func checkDeploy(ch *change, services []parachute.Status) verdict {
	generation := ch.result.Generation
	if generation == 0 {
		return unknown
	}
	for _, s := range services {
		switch {
		case s.Service != ch.service:
		case s.Generation < generation:
			return notHappened
		case s.Generation > generation || !sameTargets(s.Deployment.Targets, ch.targets):
			return superseded
		case s.State == parachute.StateFailed:
			return failed
		default:
			return happened
		}
	}
	return notHappened
}

// sameTargets reports whether a proxy that was asked for targets has those. It keeps
// each of them once.
func sameTargets(has, asked []string) bool {
	var distinct []string
	for _, target := range asked {
		if !slices.Contains(distinct, target) {
			distinct = append(distinct, target)
		}
	}
	return slices.Equal(has, distinct)
}

// checkRemove says whether a service is gone.
func checkRemove(ch *change, services []parachute.Status) verdict {
	for _, s := range services {
		if s.Service == ch.service {
			return notHappened
		}
	}
	return happened
}

// checkStatus returns a func that says by the status of a service whether it was
// changed.
func checkStatus(changed func(parachute.Status) bool) func(*change, []parachute.Status) verdict {
	return func(ch *change, services []parachute.Status) verdict {
		for _, s := range services {
			if s.Service == ch.service && changed(s) {
				return happened
			}
		}
		return notHappened
	}
}

// status returns the status of the service of the change, or none if it is not there. It is
// asked for again and again, which must not cost the more the more services there are.
func (ch *change) status(ctx context.Context, c *Client) ([]parachute.Status, error) {
	s, err := c.Service(ctx, ch.service)
	switch {
	case errors.Is(err, parachute.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []parachute.Status{s}, nil
}

// findEnd waits until a change that has taken effect has ended, and returns how, after
// its connection was lost or ctx has ended. c asks the proxy that it was lost to.
func (ch *change) findEnd(ctx context.Context, c *Client, lost error) (Result, error) {
	answered := time.Now()
	for {
		if ctx.Err() != nil {
			return ch.result, ch.describe(&textError{
				"interrupted after it had taken effect; it goes on, and what served before may have to be returned to: stop neither yet",
				parachute.ErrUndecided,
			})
		}
		services, err := ch.status(ctx, c)
		switch {
		case err == nil:
			answered = time.Now()
			if !ch.isUnderWay(services) {
				return ch.concludeEnd(services, lost)
			}
		case time.Since(answered) >= outcomeTimeout:
			return ch.result, ch.describe(&textError{
				fmt.Sprintf("the connection to the proxy was lost (%v) after it had taken effect, and nobody has answered since: stop neither what it brought nor what served before; %s", lost, ch.adviceAfterLoss()),
				errors.Join(parachute.ErrUndecided, lost),
			})
		}
		select {
		case <-time.After(outcomeInterval):
		case <-ctx.Done():
		}
	}
}

// isUnderWay reports whether the change has not ended, or what a change without a number
// has left behind, which may be this one.
func (ch *change) isUnderWay(services []parachute.Status) bool {
	for _, s := range services {
		if s.Service == ch.service && s.Live != nil &&
			slices.ContainsFunc(s.Live.Changes, func(c parachute.Change) bool { return c.Generation == ch.result.Generation || c.Generation == 0 }) {
			return true
		}
	}
	return false
}

// concludeEnd returns the result or the error of a change that has taken effect and
// ended since.
func (ch *change) concludeEnd(services []parachute.Status, lost error) (Result, error) {
	why := fmt.Sprintf("the connection to the proxy was lost (%v) after it had taken effect", lost)
	if ch.verb == "deploy" {
		for _, s := range services {
			if s.Service != ch.service || s.Generation <= ch.result.Generation || s.Restores == 0 || s.Restores >= ch.result.Generation {
				continue
			}
			return ch.result, ch.describe(&textError{
				fmt.Sprintf("%s, and it was taken back: generation %d serves what generation %d did, with targets %v", why, s.Generation, s.Restores, s.Deployment.Targets),
				parachute.ErrTakenBack,
			})
		}
	}
	switch ch.check(ch, services) {
	case happened:
	case failed:
		return ch.conclude(failed, services, lost)
	default:
		return ch.conclude(superseded, services, lost)
	}
	ch.result.Warning = why + "; it has ended since, but how many requests had to be cut off is not known"
	return ch.result, nil
}

// findOutcome finds out whether a change has taken effect whose connection was
// lost before. It does not stop when ctx ends, because that is one of the reasons
// for losing a connection. c asks the proxy that it was lost to.
func (ch *change) findOutcome(ctx context.Context, c *Client, lost error) (Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	var since time.Time // when it was first seen not to have happened
	var silence error   // why there is no answer, if the last question had none
	for ctx.Err() == nil {
		services, err := ch.status(ctx, c)
		switch {
		case err == nil:
			silence = nil
			if since.IsZero() {
				since = time.Now()
			}
			v := ch.check(ch, services)
			if v != notHappened || time.Since(since) >= outcomeSettled {
				return ch.conclude(v, services, lost)
			}
		case silence == nil || ctx.Err() == nil: // that we gave up tells less
			silence = err
		}
		select {
		case <-time.After(outcomeInterval):
		case <-ctx.Done():
		}
	}
	if silence == nil {
		return ch.conclude(notHappened, nil, lost)
	}
	return ch.result, ch.describe(&textError{
		fmt.Sprintf("the connection to the proxy was lost (%v) before it said how this ended, and nobody has answered since: %s", lost, ch.adviceAfterLoss()),
		errors.Join(lost, silence),
	})
}

func (ch *change) adviceAfterLoss() string {
	if ch.result.Generation == 0 {
		return "look at the list of services when it is back"
	}
	return fmt.Sprintf("look whether generation %d is in the list of services when it is back", ch.result.Generation)
}

// conclude returns the result or the error for a verdict.
func (ch *change) conclude(v verdict, services []parachute.Status, lost error) (Result, error) {
	why := fmt.Sprintf("the connection to the proxy was lost (%v)", lost)
	switch v {
	case happened:
		ch.result.Warning = why + ", but it has taken effect: whether what served before has been drained is not known"
		return ch.result, nil
	case superseded:
		return ch.result, ch.describe(&textError{
			fmt.Sprintf("%s; a newer change of the service than generation %d serves by now", why, ch.result.Generation),
			parachute.ErrSuperseded,
		})
	case failed:
		return ch.result, ch.describe(&textError{
			fmt.Sprintf("%s; it has taken effect, but after a restart of the proxy it could not be restored: %s", why, describeService(services, ch.service)),
			lost,
		})
	case unknown:
		return ch.result, ch.describe(&textError{
			fmt.Sprintf("%s before it gave this deploy a number, so whether it has taken effect is not known: %s", why, describeService(services, ch.service)),
			lost,
		})
	}
	return ch.result, ch.describe(&textError{why + ", and it has not taken effect: nothing was changed", lost})
}

// describeService describes the state of a service.
func describeService(services []parachute.Status, service string) string {
	for _, s := range services {
		switch {
		case s.Service != service:
		case s.State == parachute.StateFailed:
			return fmt.Sprintf("generation %d has failed: %s", s.Generation, s.Error)
		default:
			return fmt.Sprintf("generation %d serves, with targets %v", s.Generation, s.Deployment.Targets)
		}
	}
	return "there is no such service"
}
