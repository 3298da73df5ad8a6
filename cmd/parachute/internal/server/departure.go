package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
	"github.com/shahnk19/parachute/cmd/parachute/internal/systemd"
)

// An upgrader hands a server's process over to another one, once.
type upgrader struct {
	server  *server
	program handover.Program
	dataDir string
	kept    []string // names of sockets that somebody else keeps open
	ready   time.Duration
	guard   time.Duration

	signals  <-chan os.Signal // each asks for an upgrade
	turn     chan struct{}    // has an element while a handover is under way, and for ever after it
	departed chan *departure  // gets the handover that has taken place
	over     chan struct{}    // closed then

	mu    sync.Mutex // guards since
	since time.Time  // when the handover under way began
}

func newUpgrader(s *server, c Config) *upgrader {
	return &upgrader{
		server: s, program: c.Program, dataDir: c.DataDir, kept: c.Kept, ready: c.ReadyTimeout, guard: c.Guard, signals: c.Upgrades,
		turn: make(chan struct{}, 1), departed: make(chan *departure, 1), over: make(chan struct{}),
	}
}

// A departure is a handover that has taken place, as seen from the old process.
type departure struct {
	link  *handover.Link
	inbox *inbox
	early []*handover.Message // that came before the new process said that it serves
	pid   int
}

// errPID1 says why the process is not replaced, and what to do instead.
var errPID1 = errors.New("the proxy is process 1, whose end is the end of its container, and of the new process with it: start another container with the new image beside this one, with the same network (--network container:NAME) and the volumes of the data directory and the control socket, and run --takeover there; or restart the container")

// upgrade starts the program at path, or the one that runs if it is empty, and returns
// when that has taken the place of this process. With wait, it waits for its turn.
func (u *upgrader) upgrade(ctx context.Context, path string, wait bool) (control.Upgraded, error) {
	if os.Getpid() == 1 {
		return control.Upgraded{}, errPID1
	}
	if err := u.takeTurn(ctx, wait); err != nil {
		return control.Upgraded{}, err
	}
	began := time.Now()
	started, err := u.program.Start(path)
	if err != nil {
		u.endTurn()
		return control.Upgraded{}, err
	}
	version, pid, err := u.handOver(started.Link, started)
	if err != nil {
		return control.Upgraded{}, err
	}
	done := control.NewUpgraded(version, pid, u.server.version, time.Since(began))
	done.Requests = u.server.handlers.Load()
	return done, nil
}

// upgradeBySignal is upgrade for a signal. The log tells why it fails.
func (u *upgrader) upgradeBySignal(ctx context.Context) {
	if _, err := u.upgrade(ctx, "", false); err != nil {
		u.server.logger.Error("not upgraded", "error", err)
		u.server.logUntold(systemd.Ready(u.server.status)) // a reload is over
	}
}

// takeOver returns a func that hands over to the process with that pid, which has asked
// for that; 0 if it cannot be seen from here.
func (u *upgrader) takeOver(pid int) (begin func(handover.Conn), err error) {
	if os.Getpid() == 1 && pid != 0 {
		return nil, errPID1 // it would end with this one
	}
	if err := u.takeTurn(context.Background(), false); err != nil {
		return nil, err
	}
	return func(conn handover.Conn) {
		if _, _, err := u.handOver(handover.NewLink(conn), nil); err != nil {
			u.server.logger.Warn("not replaced", "error", err)
		}
	}, nil
}

// takeTurn returns nil when no other handover is under way any more, nor the last one to
// this process, and none can begin until endTurn. Without wait, it returns an error in
// place of waiting.
func (u *upgrader) takeTurn(ctx context.Context, wait bool) error {
	select {
	case u.turn <- struct{}{}:
	default:
		if !wait {
			return u.errBusy()
		}
		select {
		case u.turn <- struct{}{}:
		case <-u.over:
			return control.ErrHandedOver
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := u.dismissPredecessor(ctx, wait); err != nil {
		<-u.turn
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.since = time.Now()
	return nil
}

func (u *upgrader) endTurn() { <-u.turn }

func (u *upgrader) errBusy() error {
	select {
	case <-u.over:
		return control.ErrHandedOver
	default:
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	left := max(time.Until(u.since.Add(u.ready)), 0).Round(time.Second)
	return fmt.Errorf("another upgrade is under way, which takes at most %v more: try again then, or wait for it with --wait", left)
}

// dismissPredecessor returns nil when the process has ended whose place this one has
// taken. If it still has requests, it is waited for, or an error says how long that may
// take.
func (u *upgrader) dismissPredecessor(ctx context.Context, wait bool) error {
	if before := u.server.before; before != nil {
		return before.awaitFinished(ctx, wait)
	}
	a := u.server.arrival
	if a == nil {
		return nil
	}
	patience := time.After(closeTimeout / 2) // what is about to end is waited for
	for {
		p, changed := a.current()
		select {
		case <-a.gone:
			return nil
		default:
		}
		if p.IsDone() {
			break
		}
		var refused <-chan time.Time
		if !wait {
			refused = patience
		}
		select {
		case <-refused:
			return fmt.Errorf("the last upgrade is not over: process %d still has %s, which may take %v more: try again then, or wait for it with --wait",
				a.offer.PID, describeProgress(p), max(time.Until(a.until), 0).Round(time.Second))
		case <-changed:
		case <-a.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	_ = a.link.Send(handover.KindDismiss, nil)
	select {
	case <-a.gone:
		return nil
	case <-time.After(2 * closeTimeout):
		return fmt.Errorf("process %d of the last upgrade does not end", a.offer.PID)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// describeProgress says what a process still has.
func describeProgress(p handover.Progress) string {
	text := fmt.Sprintf("%d requests or streams", p.Requests)
	if p.Commands > 0 {
		text += fmt.Sprintf(", and %d commands that wait for an answer", p.Commands)
	}
	return text
}

// handOver hands over to the process at the other end of link, and returns its version
// and pid when it serves. started is that process, or nil if somebody else has started
// it. After an error everything is as it was before, unless the error came so late that
// this process has to take up again what it had given up.
func (u *upgrader) handOver(link *handover.Link, started *handover.Started) (version string, pid int, err error) {
	s := u.server
	s.logger.Info("upgrading")
	s.logUntold(systemd.Reloading("upgrading"))
	h := &negotiation{upgrader: u, link: link, inbox: openInbox(link), started: started, limit: time.After(u.ready)}
	s.commits.freeze()
	if err = h.prepare(); err != nil {
		s.commits.release(false)
		_ = link.Send(handover.KindFailed, handover.Failed{Error: err.Error()})
		_ = h.inbox.close()
		if started != nil {
			_ = started.Kill()
		}
		s.logger.Error("not upgraded: this process goes on", "error", err)
		s.logUntold(systemd.Ready(s.status))
		u.endTurn()
		return "", 0, err
	}
	// From here on, the other process is the one that serves, or this one takes up again.
	s.notifier.Leave()
	s.control.HandOver(s.dialCommands)
	giveUp := s.stopAccepting(h.answer.Unused)
	err = s.store.Release()
	s.commits.release(true)
	s.end = newDeadline(s.longestDrain())
	err = errors.Join(err, link.Send(handover.KindGo, handover.Go{Until: s.end.at()}))
	s.beginLeaving(link)
	var early []*handover.Message
	if err == nil {
		early, err = h.awaitServing()
	}
	if err == nil {
		s.logUntold(systemd.MainPID(h.ask.PID, fmt.Sprintf("upgraded to %s, process %d", h.ask.Version, h.ask.PID)))
		s.logger.Info("upgraded", "version", h.ask.Version, "pid", h.ask.PID, "previous_pid", os.Getpid())
	} else {
		_ = link.Send(handover.KindFailed, handover.Failed{Error: err.Error()}) // if it has not ended, it must not serve as well
		_ = h.inbox.close()
	}
	giveUp(err == nil)
	close(u.over)
	u.departed <- &departure{link: link, inbox: h.inbox, early: early, pid: h.ask.PID}
	if err != nil {
		return "", 0, fmt.Errorf("%w; the old process takes up again", err)
	}
	return h.ask.Version, h.ask.PID, nil
}

// A negotiation is a handover until it is decided.
type negotiation struct {
	*upgrader
	link    *handover.Link
	inbox   *inbox
	started *handover.Started
	limit   <-chan time.Time
	ask     handover.Ask
	answer  handover.Ready
}

// prepare answers the other process, and returns nil when it is ready.
func (h *negotiation) prepare() error {
	if _, err := h.expect(handover.KindAsk, &h.ask); err != nil {
		return err
	}
	if h.ask.Protocol != handover.Protocol {
		return fmt.Errorf("version %s cannot take the place of this one (%s) without a restart: it wants version %d of the handover, and this one has %d",
			h.ask.Version, h.server.version, h.ask.Protocol, handover.Protocol)
	}
	if dir, err := filepath.Abs(h.dataDir); err == nil && dir != h.ask.DataDir {
		return fmt.Errorf("the new process has another data directory, %s: want %s, that of this one", h.ask.DataDir, dir)
	}
	if err := h.sendOffer(); err != nil {
		return fmt.Errorf("the new process cannot be told what there is: %w", err)
	}
	m, err := h.expect(handover.KindReady, nil)
	if err != nil || len(m.Body) == 0 { // an older version says nothing more
		return err
	}
	return m.Decode(&h.answer)
}

func (h *negotiation) sendOffer() error {
	s := h.server
	services, err := json.Marshal(s.proxy.Services())
	if err != nil {
		return err
	}
	offer := handover.Offer{
		Version:      s.version,
		PID:          os.Getpid(),
		Services:     services,
		Certificates: slices.Sorted(maps.Keys(hostsWithCertificate(s.proxy))),
		AffinityKey:  s.affinityKey,
		TicketKeys:   s.tickets.Keys(),
		Kept:         h.kept,
		Lease:        int64(s.membership.lease()),
	}
	if err := h.link.Send(handover.KindOffer, offer); err != nil {
		return err
	}
	sockets, err := s.sockets()
	if err != nil {
		return err
	}
	defer sockets.Close()
	if err := sockets.SendTo(h.link); err != nil {
		return err
	}
	return h.link.Send(handover.KindOffered, nil)
}

// awaitServing returns when the new process says that it serves, with what it has said
// before: the first changes that it was asked for may be made by then. If this process is
// told to end meanwhile, it does so as one that has been replaced.
func (h *negotiation) awaitServing() (early []*handover.Message, err error) {
	for {
		m, err := h.receive(nil)
		if err != nil || m.Kind == handover.KindServing {
			return early, err
		}
		early = append(early, m)
	}
}

// receive returns the next message, or why there is none: because the process is told to
// end, if ending is closed then.
func (h *negotiation) receive(ending <-chan struct{}) (*handover.Message, error) {
	select {
	case got := <-h.inbox.messages:
		if got.err != nil {
			return nil, h.explainEnd(got.err)
		}
		if got.message.Kind == handover.KindFailed {
			var failed handover.Failed
			_ = got.message.Decode(&failed)
			return nil, fmt.Errorf("the new process: %s", failed.Error)
		}
		return got.message, nil
	case <-h.limit:
		return nil, fmt.Errorf("the new process was not ready within %v", h.ready)
	case <-ending:
		return nil, errors.New("this process was told to end")
	}
}

// expect returns the next message, which must be of that kind, with its body in v.
func (h *negotiation) expect(kind handover.Kind, v any) (*handover.Message, error) {
	m, err := h.receive(h.server.ending)
	if err != nil {
		return nil, err
	}
	if m.Kind != kind {
		return nil, fmt.Errorf("the new process says %q in place of %q", m.Kind, kind)
	}
	if v == nil {
		return m, nil
	}
	return m, m.Decode(v)
}

// explainEnd says how the new process has ended, whose end of the link is closed.
func (h *negotiation) explainEnd(err error) error {
	if h.started == nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it has hung up")
		}
		return fmt.Errorf("the new process ended before it served: %w", err)
	}
	select {
	case <-h.started.Ended():
		if err := h.started.Err(); err != nil {
			return fmt.Errorf("the new process ended before it served (%w): its output tells why", err)
		}
		return errors.New("the new process ended before it served: is it a proxy of this kind?")
	case <-time.After(closeTimeout):
	}
	return fmt.Errorf("the new process has hung up before it served: %w", err)
}

// follow does what a message of the new process asks for. It reports whether the process
// is to be ready to take up again.
func (s *server) follow(d *departure, m *handover.Message) (guarded bool) {
	switch m.Kind {
	case handover.KindPublish:
		var p handover.Publish
		if m.Decode(&p) != nil {
			break
		}
		if p.Status == nil {
			s.proxy.Follow(p.Service, nil)
			break
		}
		status := parachute.Status{Service: p.Service}
		if err := json.Unmarshal(p.Status, &status); err != nil {
			s.logger.Error("a change of the new process cannot be followed", "service", p.Service, "error", err)
			status = parachute.Status{Service: p.Service, Generation: math.MaxUint64, State: parachute.StateFailed, Error: err.Error()}
		}
		s.proxy.Follow(p.Service, &status)
	case handover.KindDrain:
		var drain handover.Drain
		if m.Decode(&drain) == nil {
			done := make(chan struct{})
			s.mu.Lock()
			s.drains[drain.ID] = done
			s.mu.Unlock()
			s.followers.Go(func() { s.drainFor(d, drain, done) })
		}
	case handover.KindUndrain:
		var undrain handover.Undrain
		if m.Decode(&undrain) == nil {
			s.undrain(undrain.ID)
		}
	case handover.KindAskChanges:
		var asked handover.AskChanges
		if m.Decode(&asked) == nil {
			s.followers.Go(func() { s.tellChanges(d, asked) })
		}
	case handover.KindStopping: // which waits for the end of this one
		s.hurry()
		return false
	case handover.KindDismiss:
		return false
	}
	return true
}

// drainFor drains a service for the new process until done is closed, and answers.
func (s *server) drainFor(d *departure, drain handover.Drain, done <-chan struct{}) {
	limits := parachute.Timeouts{Drain: drain.Requests, Stream: drain.Streams}
	requests, streams := s.proxy.Drain(drain.Service, limits, done)
	s.undrain(drain.ID)
	_ = d.link.Send(handover.KindDrained, handover.Drained{ID: drain.ID, Requests: requests, Streams: streams})
}

// undrain ends the wait of a drain.
func (s *server) undrain(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done := s.drains[id]; done != nil {
		close(done)
		delete(s.drains, id)
	}
}
