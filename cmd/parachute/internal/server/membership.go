package server

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/fleet"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// A membership is that of a server in a fleet.
type membership struct {
	*fleet.Member
	end   context.CancelCauseFunc // nil: it has not begun
	ended chan struct{}
	last  kv.Lease // that it had when it was handed over
}

// newMembership returns the one of s, which has not begun, and has o ask the fleet about
// each change; or nil if s is in none.
func (s *server) newMembership(c Config, p parts, o *parachute.Options) *membership {
	if p.shared == nil {
		return nil
	}
	m := fleet.New(p.shared.store, fleet.Config{
		Name: c.Fleet.Name, Address: p.listeners.address(), Version: c.Version,
		LeaseTime: c.Fleet.Lease, Adopted: p.adopted, Logger: p.logger, Save: s.commit,
		Tell: func(ctx context.Context, what []byte) ([]byte, error) { return s.control.Answer(ctx, s.proxy, what) },
	})
	s.commits.save = m.Commit
	o.Propose = m.Propose
	agree := o.Agree
	o.Agree = func(ctx context.Context, d parachute.Deployment, generation uint64) error {
		if err := m.Agree(ctx, d, generation); err != nil {
			return err
		}
		return agree(ctx, d, generation)
	}
	s.control.Fleet = control.Fleet{
		Begin: m.Begin, Settle: m.Settle, Settled: m.Settled, Records: m.Records,
		Members: func(ctx context.Context) ([]control.Member, error) { return standings(m.Members(ctx)) },
		Lost:    func(ctx context.Context) ([]control.Member, error) { return lost(m.Lost(ctx)) },
		Forget: func(ctx context.Context, name string) error {
			err := m.Forget(ctx, name)
			if errors.Is(err, fleet.ErrNotLost) {
				err = control.ErrNotLost
			}
			return err
		},
		Ask: func(ctx context.Context, question []byte) ([]control.Answer, error) {
			return answers(m.Ask(ctx, question))
		},
	}
	return &membership{Member: m, ended: make(chan struct{})}
}

// standings returns members as the control plane tells of them.
func standings(all []fleet.Standing, err error) ([]control.Member, error) {
	members := make([]control.Member, 0, len(all))
	for _, s := range all {
		members = append(members, control.Member{
			Name: s.Name, Address: s.Address, Version: s.Version, Since: s.Since, Self: s.Self,
			Services: s.Services, Unhealthy: s.Unhealthy, Behind: s.Behind, Revision: s.Reached,
		})
	}
	return members, err
}

// lost likewise returns those that were lost.
func lost(all []fleet.Identity, err error) ([]control.Member, error) {
	members := make([]control.Member, 0, len(all))
	for _, i := range all {
		members = append(members, control.Member{Name: i.Name, Address: i.Address, Version: i.Version, Since: i.Since, Lost: true})
	}
	return members, err
}

// answers likewise returns what members have told of themselves.
func answers(all []fleet.Answer, err error) ([]control.Answer, error) {
	told := make([]control.Answer, 0, len(all))
	for _, a := range all {
		told = append(told, control.Answer(a))
	}
	return told, err
}

// address returns where other machines reach HTTP, as far as that is known.
func (l *listeners) address() string {
	at, ok := l.http.Addr().(*net.TCPAddr)
	if !ok || !at.IP.IsUnspecified() {
		return l.http.Addr().String()
	}
	host, err := os.Hostname()
	if err != nil {
		return at.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(at.Port))
}

// joinTimeout bounds how long the first clients wait until a proxy serves what its
// fleet does. Without the fleet it serves what it has.
const joinTimeout = 3 * time.Second

// begin has p be a proxy of the fleet. m may be nil, as for the other methods.
func (m *membership) begin(p *parachute.Proxy) {
	if m == nil {
		return
	}
	var ctx context.Context
	ctx, m.end = context.WithCancelCause(context.Background())
	go m.run(ctx, p)
}

// await returns when the proxy serves what its fleet does, or cannot by now, or ctx
// ends.
func (m *membership) await(ctx context.Context) {
	if m == nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	_ = m.Begin(limited) // why it is none is in the log
}

func (m *membership) run(ctx context.Context, p *parachute.Proxy) {
	defer close(m.ended)
	m.Run(ctx, p)
}

// handOver leaves the membership to another one, which adopts it.
func (m *membership) handOver() {
	if m != nil {
		m.last = m.Lease()
		m.end(fleet.ErrHandedOver)
	}
}

// giveUp has nothing that is being changed wait for the store for long. It is to be called
// before the proxy is shut down.
func (m *membership) giveUp() {
	if m != nil {
		m.GiveUp()
	}
}

// finish ends the membership if it has not been handed over, and returns when nothing is left
// of it. The proxy must be closed.
func (m *membership) finish() {
	if m != nil {
		m.end(nil)
		<-m.ended
	}
}

// lease returns what another membership can adopt, or 0.
func (m *membership) lease() kv.Lease {
	switch {
	case m == nil:
		return 0
	case m.last != 0:
		return m.last
	}
	return m.Lease()
}

// why returns why the proxy does not serve what its fleet does, or nil.
func (m *membership) why() error {
	if m == nil {
		return nil
	}
	return m.Ready()
}
