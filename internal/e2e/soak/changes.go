package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A deed is something that is done to the proxy or to a target. It ends with an error
// only if the soak cannot go on.
type deed func(ctx context.Context, chance *rand.Rand) error

// changes returns what is done to a service by commands.
func (s *service) changes() []deed {
	all := []deed{
		s.deploy, s.deploy, s.deploy, s.deployReaders, s.deployAgain, s.deployInPart,
		s.deploySick, s.deployDying, s.deployKilled, s.deployTwice, s.deployPaused,
		s.rollOut, s.pause, s.stop, s.haltKilled,
	}
	if s.name == guest {
		all = append(all, s.remove, s.remove)
	}
	return all
}

// command runs a command that must succeed, and enters in the ledger if it does not.
func (s *service) command(heard func(kind string), args ...string) report {
	x := s.soak.newExchange("command", s, false)
	s.soak.ledger.begun(x)
	r := s.soak.proxy.command(context.Background(), heard, args...)
	x.status, x.part = r.code, r.kind
	if r.code != 0 {
		s.soak.ledger.failed(x, commanding, fmt.Errorf("%s: %w", strings.Join(args[:2], " "), r.err))
	} else {
		s.soak.ledger.good(x)
	}
	return r
}

// insist runs a command again and again until it succeeds.
func (s *service) insist(ctx context.Context, args ...string) error {
	for late := time.Now().Add(patience); ; {
		r := s.command(nil, args...)
		if r.code == 0 {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("%v: %w", args, r.err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func targetFlags(all []*standing) (flags []string) {
	for _, st := range all {
		flags = append(flags, st.role, st.address)
	}
	return flags
}

// streamFlags are how long streams may outlive a deploy.
var streamFlags = [][]string{nil, nil, {"--stream-drain-timeout", "0s"}, {"--stream-drain-timeout", "1s"}}

// flavours are what makes no difference to clients.
var flavours = [][]string{
	nil, {"--affinity", "cookie"}, {"--target-keepalive=false"}, {"--target-keepalive-requests", "3"},
	{"--health-check-fall", "2"}, {"--health-check-interval", "200ms"},
}

func oneOf(chance *rand.Rand, all [][]string) []string { return all[chance.IntN(len(all))] }

// bring deploys the service with kept and fresh.
func (s *service) bring(ctx context.Context, chance *rand.Rand, kept, fresh []*standing) error {
	old := slices.DeleteFunc(s.serving(false), func(st *standing) bool { return slices.Contains(kept, st) })
	begun := time.Now()
	defer s.soak.ledger.begin(deployed, s.name, nil)()
	s.switching(fresh, old)
	args := slices.Concat([]string{"deploy", s.name}, targetFlags(kept), targetFlags(fresh), s.flags, oneOf(chance, streamFlags), oneOf(chance, flavours))
	r := s.command(func(kind string) {
		if kind == "switched" {
			s.switched(old)
		}
	}, args...)
	if r.kind == "taken_back" {
		s.soak.ledger.enter(takenBack, s.name, begun)
	}
	return s.concluded(ctx, r, kept, fresh)
}

// concluded compares what came of a deploy with what the command said.
func (s *service) concluded(ctx context.Context, r report, kept, fresh []*standing) error {
	is, found, err := s.status(ctx)
	if err != nil {
		return err
	}
	serves := func(st *standing) bool {
		return found && (slices.Contains(is.Deployment.Targets, st.address) || slices.Contains(is.Deployment.ReadTargets, st.address))
	}
	var wrong error
	switch { // what is not decided may be one or the other
	case r.code == 0 && !(all(kept, serves) && all(fresh, serves)):
		wrong = errors.New("the deploy has succeeded, and its targets do not serve")
	case r.code != 0 && r.code != exitUndecided && slices.ContainsFunc(fresh, serves):
		wrong = fmt.Errorf("the deploy ended with %d, and its targets serve", r.code)
	}
	if wrong != nil {
		s.wrong(wrong)
	}
	if r.code != 0 {
		return s.tidy(ctx)
	}
	s.takeOver(is, r.unused)
	return nil
}

func all(of []*standing, is func(*standing) bool) bool {
	return !slices.ContainsFunc(of, func(st *standing) bool { return !is(st) })
}

// wrong enters that the proxy, or a command, has not kept its word.
func (s *service) wrong(err error) {
	x := s.soak.newExchange("command", s, false)
	x.began = time.Now()
	s.soak.ledger.failed(x, checking, err)
}

// deploy brings one to three new instances.
func (s *service) deploy(ctx context.Context, chance *rand.Rand) error {
	fresh, err := s.prepare(ctx, 1+chance.IntN(3), false, false)
	if err != nil {
		return err
	}
	return s.bring(ctx, chance, nil, fresh)
}

// deployReaders brings one instance for writing and two for reading.
func (s *service) deployReaders(ctx context.Context, chance *rand.Rand) error {
	fresh, err := s.prepare(ctx, 3, false, false)
	if err != nil {
		return err
	}
	fresh[1].role, fresh[2].role = "--read-target", "--read-target"
	return s.bring(ctx, chance, nil, fresh)
}

// deployAgain brings those that serve already.
func (s *service) deployAgain(ctx context.Context, chance *rand.Rand) error {
	return s.bring(ctx, chance, s.serving(false), nil)
}

// deployInPart brings one of those that serve already, and a new one.
func (s *service) deployInPart(ctx context.Context, chance *rand.Rand) error {
	fresh, err := s.prepare(ctx, 1, false, false)
	if err != nil {
		return err
	}
	return s.bring(ctx, chance, s.serving(false)[:1], fresh) // the oldest is for writing
}

// deploySick brings what never becomes healthy, which must be refused.
func (s *service) deploySick(ctx context.Context, _ *rand.Rand) error {
	fresh, err := s.prepare(ctx, 1, false, true)
	if err != nil {
		return err
	}
	defer s.soak.ledger.begin(deployRefused, s.name, nil)()
	args := slices.Concat([]string{"deploy", s.name}, targetFlags(fresh), s.flags, []string{"--deploy-timeout", "500ms"})
	r := s.soak.proxy.command(context.Background(), nil, args...)
	if r.code == 0 {
		s.wrong(errors.New("a target was deployed that is not healthy"))
	}
	return s.concluded(ctx, r, s.serving(false), fresh)
}

// deployTwice deploys two versions at once, of which the newer must serve in the end.
func (s *service) deployTwice(ctx context.Context, chance *rand.Rand) error {
	first, err := s.prepare(ctx, 1, false, false)
	if err != nil {
		return err
	}
	second, err := s.prepare(ctx, 1+chance.IntN(2), false, false)
	if err != nil {
		return err
	}
	old := s.serving(false)
	defer s.soak.ledger.begin(deployed, s.name, nil)()
	s.switching(first, old)
	s.switching(second, append(old, first...))
	var earlier report
	x := s.soak.newExchange("command", s, false)
	s.soak.ledger.begun(x)
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) }) // again, where an upgrade hands it on
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		args := slices.Concat([]string{"deploy", s.name}, targetFlags(first), s.flags)
		earlier = s.soak.proxy.command(context.Background(), func(kind string) {
			if kind == "deploying" {
				begin()
			}
		}, args...)
	}()
	select {
	case <-begun:
	case <-ended:
	}
	r := s.command(nil, slices.Concat([]string{"deploy", s.name}, targetFlags(second), s.flags)...)
	<-ended
	if x.status = earlier.code; earlier.code != 0 && earlier.code != exitSuperseded {
		s.soak.ledger.failed(x, commanding, fmt.Errorf("deploy, the earlier of two: %w", earlier.err))
	} else {
		s.soak.ledger.good(x)
	}
	if err := s.concluded(ctx, r, nil, second); err != nil {
		return err
	}
	return s.tidy(ctx)
}

// exitSuperseded is what a command ends with if a newer change came first.
const exitSuperseded = 4

// deployDying deploys what dies as soon as it serves. If requests to the old version still
// run then, the deploy is to be taken back.
func (s *service) deployDying(ctx context.Context, _ *rand.Rand) error {
	fresh, err := s.prepare(ctx, 1, false, false)
	if err != nil {
		return err
	}
	old := s.serving(false)
	begun := time.Now()
	defer s.soak.ledger.begin(deployDying, s.name, nil)()
	s.switching(fresh, old)
	back := func() {}
	x := s.soak.newExchange("command", s, false)
	s.soak.ledger.begun(x)
	r := s.soak.proxy.command(context.Background(), func(kind string) {
		if kind == "switched" && x.first.IsZero() { // again, if it is taken back
			x.first = time.Now()
			s.switched(old)
			back = s.soak.ledger.begin(targetKilled, s.name, fresh[0].instance)
			fresh[0].instance.end(syscall.SIGKILL)
		}
	}, slices.Concat([]string{"deploy", s.name}, targetFlags(fresh), s.flags)...)
	defer func() { back() }()
	switch x.status = r.code; {
	case r.code == 0 || r.code == exitUndecided && !x.first.IsZero():
		s.soak.ledger.good(x)
	case r.kind == "taken_back":
		s.soak.ledger.good(x)
		defer s.soak.ledger.enter(takenBack, s.name, begun)
	default:
		s.soak.ledger.failed(x, commanding, fmt.Errorf("deploy of what dies: %w", r.err))
	}
	if err := s.tidy(ctx); err != nil {
		return err
	}
	_, err = fresh[0].start(ctx, s.soak.dir) // unless it is retired
	return err
}

// exitUndecided is what a command ends with if what serves may not stay.
const exitUndecided = 3

// deployPaused deploys while the service is paused.
func (s *service) deployPaused(ctx context.Context, chance *rand.Rand) error {
	defer s.soak.ledger.begin(paused, s.name, nil)()
	s.command(nil, "pause", s.name, "--max-pause", "60s")
	if err := s.deploy(ctx, chance); err != nil {
		return err
	}
	return s.insist(ctx, "resume", s.name)
}

// deployKilled kills the command at some time. What has come of the deploy, the proxy
// tells.
func (s *service) deployKilled(ctx context.Context, chance *rand.Rand) error {
	fresh, err := s.prepare(ctx, 1+chance.IntN(2), false, false)
	if err != nil {
		return err
	}
	defer s.soak.ledger.begin(deployKilled, s.name, nil)()
	s.switching(fresh, s.serving(false))
	short, cancel := context.WithTimeout(ctx, time.Duration(chance.Int64N(int64(300*time.Millisecond))))
	defer cancel()
	s.soak.proxy.command(short, nil, slices.Concat([]string{"deploy", s.name}, targetFlags(fresh), s.flags)...)
	return s.tidy(ctx)
}

// rollOut has a second version beside the first for a while.
func (s *service) rollOut(ctx context.Context, chance *rand.Rand) error {
	fresh, err := s.prepare(ctx, 1+chance.IntN(2), true, false)
	if err != nil {
		return err
	}
	defer s.soak.ledger.begin(rolledOut, s.name, nil)()
	r := s.command(nil, append([]string{"rollout", "deploy", s.name}, targetFlags(fresh)...)...)
	if r.code == 0 {
		is, _, err := s.status(ctx)
		if err != nil {
			return err
		}
		s.takeOver(is, r.unused)
		s.command(nil, "rollout", "set", s.name, "--percent", "40")
		think(ctx, chance, time.Second)
	}
	for {
		r := s.command(func(kind string) {
			if kind == "rollout ended" {
				s.switched(fresh)
			}
		}, "rollout", "stop", s.name)
		if r.code == 0 {
			break
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.tidy(ctx)
}

func (s *service) pause(ctx context.Context, chance *rand.Rand) error {
	defer s.soak.ledger.begin(paused, s.name, nil)()
	s.command(nil, "pause", s.name, "--max-pause", "60s")
	think(ctx, chance, 500*time.Millisecond)
	return s.insist(ctx, "resume", s.name)
}

func (s *service) stop(ctx context.Context, chance *rand.Rand) error {
	defer s.soak.ledger.begin(stopped, s.name, nil)()
	s.command(nil, "stop", s.name, "--message", "at noon")
	think(ctx, chance, 500*time.Millisecond)
	return s.insist(ctx, "resume", s.name)
}

// haltKilled kills the command that pauses or stops the service, or the one that resumes
// it.
func (s *service) haltKilled(ctx context.Context, chance *rand.Rand) error {
	defer s.soak.ledger.begin(paused, s.name, nil)()
	defer s.soak.ledger.begin(stopped, s.name, nil)()
	commands := [][]string{{"pause", s.name, "--max-pause", "60s"}, {"stop", s.name, "--message", "at noon"}}
	for _, args := range [][]string{commands[chance.IntN(len(commands))], {"resume", s.name}} {
		short, cancel := context.WithTimeout(ctx, time.Duration(chance.Int64N(int64(100*time.Millisecond))))
		s.soak.proxy.command(short, nil, args...)
		cancel()
	}
	return s.insist(ctx, "resume", s.name)
}

// remove takes the service out, and brings it back with new instances.
func (s *service) remove(ctx context.Context, chance *rand.Rand) error {
	defer s.soak.ledger.begin(removed, s.name, nil)()
	old := s.serving(false)
	for {
		r := s.command(func(kind string) {
			if kind == "switched" {
				s.switched(old)
			}
		}, "remove", s.name)
		_, found, err := s.status(ctx)
		if err != nil {
			return err
		}
		if r.code == 0 && found {
			s.wrong(errors.New("the service is removed, and still there"))
		}
		if !found {
			break
		}
		think(ctx, chance, 200*time.Millisecond)
	}
	if err := s.tidy(ctx); err != nil {
		return err
	}
	think(ctx, chance, 500*time.Millisecond)
	for {
		if err := s.deploy(ctx, chance); err != nil {
			return err
		}
		if _, found, err := s.status(ctx); found || err != nil {
			return err
		}
	}
}
