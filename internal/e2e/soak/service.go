package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
)

// Names of the services, each of which is there for something else.
const (
	web    = "web"    // targets by address
	named  = "named"  // targets by name
	secure = "secure" // TLS
	calls  = "calls"  // targets that speak h2c
	stored = "stored" // all bodies are buffered
	guest  = "guest"  // is removed and comes back
)

// A service is one that is deployed, and what may answer for it.
type service struct {
	soak   *soak
	name   string
	host   string
	scheme string   // of its targets
	flags  []string // of each deploy
	byName bool     // its targets are deployed by name

	mu       sync.Mutex // guards what follows
	number   int        // of the last deploy
	standing map[string]*standing
}

// A standing says when an instance may answer.
type standing struct {
	*instance
	from     time.Time // when it may first
	until    time.Time // requests that begin later, it must not answer; zero: there is no such time yet
	serves   bool      // it is one of those that the proxy says are deployed
	rollout  bool      // it came with a rollout
	role     string    // the flag that it is deployed with
	answered bool      // it has
	replaces []*standing
}

// flagsOf returns what is said with each deploy of a service.
func (s *soak) flagsOf(name, host string) []string {
	flags := []string{"--host", host, "--target-timeout", targetTimeout.String(), "--hold", holdTimeout.String(),
		"--health-check-timeout", "1s", "--deploy-timeout", "60s"}
	switch name {
	case secure:
		return append(flags, "--tls", "--tls-certificate-path", s.authority.certFile, "--tls-private-key-path", s.authority.keyFile)
	case calls:
		return append(flags, "--health-check-grpc")
	case stored:
		return append(flags, "--buffer-requests", "--buffer-responses", "--buffer-memory", "64KiB")
	}
	return flags
}

// A staleAnswer is that of a target which had been replaced.
type staleAnswer struct{ error }

// answered returns an error if the target that answered x must not have.
func (s *service) answered(x *exchange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.standing[x.instance]
	switch {
	case st == nil:
		return fmt.Errorf("answered by %q, which is no target of the service", x.instance)
	case !st.until.IsZero() && x.began.After(st.until):
		return staleAnswer{fmt.Errorf("answered by %s, %v after that was replaced", x.instance, x.began.Sub(st.until))}
	}
	if !st.answered {
		st.answered = true
		// From the first answer of a new version on, nobody gets an older one.
		for _, old := range st.replaces {
			old.end(time.Now())
		}
	}
	return nil
}

// end has requests that begin after t not be answered by st.
func (st *standing) end(t time.Time) {
	if st.until.IsZero() {
		st.until = t
	}
}

// prepare starts n new instances.
func (s *service) prepare(ctx context.Context, n int, rollout, sick bool) ([]*standing, error) {
	s.mu.Lock()
	s.number++
	number := s.number
	s.mu.Unlock()
	var fresh []*standing
	for i := range n {
		name := fmt.Sprintf("%s.%d.%d", s.name, number, i+1)
		host := ""
		if s.byName {
			host = name + "." + zone
		}
		in, err := newInstance(s.name, name, s.scheme, host)
		if err != nil {
			return nil, err
		}
		in.sick = sick
		if _, err := in.start(ctx, s.soak.dir); err != nil {
			return nil, err
		}
		fresh = append(fresh, &standing{instance: in, from: time.Now(), rollout: rollout, role: "--target"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range fresh {
		s.standing[st.name] = st
	}
	return fresh, nil
}

// serving returns the instances that serve, those of a rollout or the others.
func (s *service) serving(rollout bool) (all []*standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.standing {
		if st.serves && st.rollout == rollout {
			all = append(all, st)
		}
	}
	slices.SortFunc(all, func(a, b *standing) int {
		return cmp.Or(strings.Compare(b.role, a.role), a.from.Compare(b.from)) // "--target" comes first
	})
	return all
}

// switching has old be replaced by fresh as soon as those answer.
func (s *service) switching(fresh, old []*standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range fresh {
		st.replaces = old
	}
}

// switched says that old is replaced.
func (s *service) switched(old []*standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range old {
		st.end(time.Now())
	}
}

// takeOver takes over what the proxy says that serves, and retires the targets of unused.
func (s *service) takeOver(is parachute.Status, unused []string) {
	targets := slices.Concat(is.Deployment.Targets, is.Deployment.ReadTargets)
	if is.Rollout != nil {
		targets = append(targets, is.Rollout.Targets...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.standing {
		// The address of one that is retired may be another's by now.
		st.serves = slices.Contains(targets, st.address) && !st.isRetired()
		if st.serves {
			st.until = time.Time{} // also where it does so again
		}
		if !st.serves && slices.Contains(unused, st.address) {
			st.end(time.Now())
			st.retire()
		}
	}
}

// status returns what the proxy says of the service, which it must, sooner or later.
// There may be none.
func (s *service) status(ctx context.Context) (is parachute.Status, found bool, err error) {
	late := time.After(patience)
	for {
		all, err := s.soak.proxy.services(ctx)
		if err == nil {
			is, found := all[s.name]
			return is, found, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-late:
			return is, false, fmt.Errorf("the proxy does not say what is deployed: %w", err)
		case <-ctx.Done():
			return is, false, ctx.Err()
		}
	}
}

// tidy waits until nothing is under way in the service, and retires every instance that
// does not serve. It is for when a command did not say which those are.
func (s *service) tidy(ctx context.Context) error {
	for late := time.Now().Add(patience); ; {
		is, _, err := s.status(ctx)
		if err != nil {
			return err
		}
		if is.Live != nil && len(is.Live.Changes) > 0 {
			if time.Now().After(late) {
				return fmt.Errorf("%s: a change is under way for too long: %+v", s.name, is.Live.Changes)
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		s.takeOver(is, nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, st := range s.standing {
			if !st.serves {
				st.end(time.Now())
				st.retire()
			}
		}
		return nil
	}
}

// retireAll ends all instances.
func (s *service) retireAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.standing {
		st.retire()
	}
}
