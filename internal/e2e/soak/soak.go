package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// A soak is the proxy with all that is around it.
type soak struct {
	options
	inside    bool // in namespaces of its own
	ledger    *ledger
	proxy     *proxy
	authority *authority
	names     *nameServer // nil: there is none of its own
	services  []*service
	closers   []func()   // of the clients' connections
	replaced  chan error // gets how the process has ended that was replaced last; nil: none was
	files     sync.Mutex // held while files are replaced that a process reads when it starts, and while one starts
	nonces    atomic.Int64
}

// soakProxy does all there is to do, and reports whether nothing failed that must not.
func soakProxy(ctx context.Context, o options, inside bool, out io.Writer) (clean bool, err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "soak"); err != nil {
			return false, err
		}
		defer func() {
			if clean {
				os.RemoveAll(o.dir)
			} else {
				fmt.Fprintln(out, "the logs are in", o.dir)
			}
		}()
	}
	s := &soak{options: o, inside: inside, ledger: &ledger{tallies: make(map[string]*tally), lines: make(map[string]logLine)}}
	if err := adoptOrphans(); err != nil {
		return false, err
	}
	if err := s.furnish(); err != nil {
		return false, err
	}
	defer s.close()
	if err := s.proxy.start(ctx); err != nil {
		return false, err
	}
	defer s.proxy.kill()
	return s.shake(ctx, out)
}

// furnish brings up what the proxy stands on, and what it is in front of.
func (s *soak) furnish() error {
	data := filepath.Join(s.dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	var err error
	if s.inside {
		if err := furnish(s.dir, data, nameServerAddress); err != nil {
			fmt.Fprintln(os.Stderr, "soak:", err)
			os.Exit(exitNoNamespaces)
		}
		if s.names, err = newNameServer(); err != nil {
			return err
		}
	}
	if s.authority, err = newAuthority(s.dir); err != nil {
		return err
	}
	if s.proxy, err = newProxy(s.parachute, s.dir, data, s.ledger); err != nil {
		return err
	}
	for _, name := range []string{web, named, secure, calls, stored, guest} {
		on := &service{soak: s, name: name, host: name + ".test", standing: make(map[string]*standing)}
		on.flags = s.flagsOf(name, on.host)
		on.byName = name == named && s.inside
		if name == calls {
			on.scheme = "h2c://"
		}
		s.services = append(s.services, on)
	}
	return s.authority.issue(s.service(secure).host)
}

func (s *soak) close() {
	for _, on := range s.services {
		on.retireAll()
	}
	if s.names != nil {
		s.names.close()
	}
	if s.proxy != nil {
		s.proxy.close()
	}
}

func (s *soak) service(name string) *service {
	for _, on := range s.services {
		if on.name == name {
			return on
		}
	}
	panic("no service " + name)
}

// addressOf returns where the proxy listens for a scheme.
func (s *soak) addressOf(scheme string) string {
	if scheme == "https" {
		return s.proxy.https
	}
	return s.proxy.http
}

// chance returns what decides about one part of the soak.
func (s *soak) chance(part string) *rand.Rand {
	h := fnv.New64a()
	io.WriteString(h, part)
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}

// shake deploys the services, has clients use them, and does all kinds of things until
// the time is over.
func (s *soak) shake(ctx context.Context, out io.Writer) (clean bool, err error) {
	fmt.Fprintf(out, "seed %d, for %v\n", s.seed, s.duration)
	for _, on := range s.services {
		if err := on.deploy(ctx, s.chance("first deploy of "+on.name)); err != nil {
			return false, err
		}
	}
	begin := time.Now()
	start, err := s.proxy.gauges(ctx)
	if err != nil {
		return false, err
	}
	clients := newCrew(context.Background())
	for i, c := range s.clients() {
		clients.do(func(ctx context.Context) error {
			c(ctx, s.chance(fmt.Sprint("client ", i)))
			return nil
		})
	}
	during, cancel := context.WithTimeout(ctx, s.duration)
	defer cancel()
	if s.untilFault {
		go s.endAtFault(during, cancel)
	}
	shakers := newCrew(context.Background()) // an interrupt ends the soak in good order
	shakers.do(func(ctx context.Context) error {
		return deal(ctx, during.Done(), s.chance("proxy"), s.pace(4*time.Second), s.troubles())
	})
	shakers.do(func(ctx context.Context) error {
		return deal(ctx, during.Done(), s.chance("certificates"), s.pace(10*time.Second), []deed{s.rotate})
	})
	for _, on := range s.services {
		shakers.do(func(ctx context.Context) error {
			return deal(ctx, during.Done(), s.chance("changes of "+on.name), s.pace(2*time.Second), on.changes())
		})
		shakers.do(func(ctx context.Context) error {
			return deal(ctx, during.Done(), s.chance("targets of "+on.name), s.pace(3*time.Second), on.troubles())
		})
	}
	err = shakers.wait()
	clients.stop()
	clients.wait()
	for _, shut := range s.closers {
		shut()
	}
	if err != nil {
		return false, err
	}
	end, err := s.proxy.rest(context.Background(), start)
	if err != nil {
		return false, err
	}
	if end.leaks(start) {
		s.ledger.failed(&exchange{kind: "proxy", began: time.Now()}, idling, fmt.Errorf("at the start %+v, at the end %+v", start, end))
	}
	took := time.Since(begin)
	if end.leaks(start) {
		s.proxy.dump()
	} else if err := s.proxy.stop(); err != nil {
		s.wrong(err)
	}
	s.awaitReplaced()
	return s.report(out, took, start, end), nil
}

// endAtFault calls end when something has failed that must not, and returns when ctx
// ends.
func (s *soak) endAtFault(ctx context.Context, end func()) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if s.ledger.hasFault() {
				end()
			}
		case <-ctx.Done():
			return
		}
	}
}

// pace returns how long to wait between two deeds: a short soak has to do the same in
// less time.
func (s *soak) pace(usual time.Duration) time.Duration {
	if s.duration < time.Minute {
		return usual / 4
	}
	return usual
}

// deal does deeds in an order that chance decides, each as often as the others, with
// pauses of about that length. It returns when one fails, or when one has ended and
// over is closed.
func deal(ctx context.Context, over <-chan struct{}, chance *rand.Rand, pause time.Duration, deeds []deed) error {
	for {
		for _, i := range chance.Perm(len(deeds)) {
			select {
			case <-time.After(pause/2 + time.Duration(chance.Int64N(int64(pause)))):
			case <-over:
				return nil
			}
			switch err := deeds[i](ctx, chance); {
			case ctx.Err() != nil:
				return nil // the error is somebody else's
			case err != nil:
				return err
			}
		}
	}
}

// A crew is goroutines that end together.
type crew struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu  sync.Mutex // guards err
	err error
}

func newCrew(ctx context.Context) *crew {
	c := new(crew)
	c.ctx, c.stop = context.WithCancel(ctx)
	return c
}

// do has one more do f. If that ends with an error, all are to stop.
func (c *crew) do(f func(ctx context.Context) error) {
	c.wg.Go(func() {
		if err := f(c.ctx); err != nil {
			c.mu.Lock()
			c.err = errors.Join(c.err, err)
			c.mu.Unlock()
			c.stop()
		}
	})
}

// wait returns when all have ended, and what with.
func (c *crew) wait() error {
	c.wg.Wait()
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
