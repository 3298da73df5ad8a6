package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A ledger has what was done to the proxy and to the targets, and what clients saw.
// All methods may be called from any goroutine.
type ledger struct {
	mu           sync.Mutex // guards what follows
	disturbances []*disturbance
	tallies      map[string]*tally // by kind of exchange
	failures     []failure
	lines        map[string]logLine // of the proxy's log, by the nonce of the request
	stall        stall              // the longest
	calm         stall              // likewise, of those that nothing was done to
}

// A disturbance is something that was done. It lasts from just before that until its
// effects must be over.
type disturbance struct {
	kind     what
	service  string    // whose requests may notice; "": those of all
	instance *instance // the target that it was done to, if it was one
	from, to time.Time // to is zero while it lasts
}

// what is a kind of disturbance.
type what string

const (
	deployed       what = "deploy"
	deployRefused  what = "deploy of what is not healthy"
	deployKilled   what = "control client killed"
	deployDying    what = "deploy of what dies behind the switch"
	takenBack      what = "deploy taken back"
	rolledOut      what = "rollout"
	paused         what = "pause"
	stopped        what = "stop"
	removed        what = "removal"
	targetKilled   what = "target killed"
	targetDying    what = "target died in mid-answer"
	targetRestart  what = "target restarted in place"
	targetFrozen   what = "target frozen"
	targetSlow     what = "target slow"
	idleClosed     what = "target closed idle connections"
	nameServerAway what = "name server away"
	diskFull       what = "disk full"
	rotated        what = "certificate rotated"
	proxyRestarted what = "proxy restarted"
	proxyKilled    what = "proxy killed"
	proxyUpgraded  what = "proxy upgraded"
	upgradeKilled  what = "new process of an upgrade killed"
)

// lasted returns for how long, until now if it still lasts.
func (d *disturbance) lasted() time.Duration {
	if d.to.IsZero() {
		return time.Since(d.from)
	}
	return d.to.Sub(d.from)
}

// overlaps reports whether d was, wholly or in part, between two times.
func (d *disturbance) overlaps(from, to time.Time) bool {
	return !d.from.After(to) && (d.to.IsZero() || !d.to.Before(from))
}

// begin enters a disturbance, which lasts until the returned func is called.
func (l *ledger) begin(kind what, service string, on *instance) (end func()) {
	d := &disturbance{kind: kind, service: service, instance: on, from: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disturbances = append(l.disturbances, d)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		d.to = time.Now()
	}
}

// enter enters a disturbance that has lasted since from, and is over.
func (l *ledger) enter(kind what, service string, from time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disturbances = append(l.disturbances, &disturbance{kind: kind, service: service, from: from, to: time.Now()})
}

// A tally counts exchanges of one kind.
type tally struct{ sent, good int }

// A stall is how long a client has waited for the first byte of an answer.
type stall struct {
	took time.Duration
	of   exchange
	by   string // what was done meanwhile; "": nothing
}

// A stage is how far an exchange had come when it failed.
type stage string

const (
	connecting stage = "refused"         // there was no connection
	asking     stage = "no answer"       // the connection ended, or nothing came
	refused    stage = "unwelcome"       // the answer was another than it should be
	answering  stage = "cut"             // the answer broke off
	streaming  stage = "stream ended"    // a stream did
	checking   stage = "wrong"           // content, order or version are
	commanding stage = "command refused" // a command failed
	idling     stage = "leaked"          // something is left when all has ended
)

// An exchange is a request of a client, or a stream, and what came of it.
type exchange struct {
	kind    string
	service string
	nonce   string
	again   bool // the request may be sent twice
	began   time.Time
	sent    time.Time // when all of it had been, as far as that is known; zero: it had not been, or is not known

	// What is known of the answer.
	first    time.Time // of its bytes
	instance string    // the target that gave it; "": none did
	status   int       // of HTTP, or the exit code of a command
	part     string    // X-Parachute-Error, or the code of a command's error
}

// A failure is an exchange that did not go as it should.
type failure struct {
	exchange
	ended time.Time
	stage stage
	err   error
	log   logLine // what the proxy says of it

	unlogged bool // a proxy that was killed may have taken with it what it had to say
}

// logDelay is how long the proxy keeps lines of its log at most, before it writes them.
const logDelay = time.Second

// mayBeOf reports whether the target of d may have had the request. Unless the line of the
// log is lost, that says which it was.
func (f *failure) mayBeOf(d *disturbance) bool {
	return f.log.Target == d.instance.address || f.unlogged
}

func (f *failure) String() string {
	text := fmt.Sprintf("%s %s %s: %s", f.ended.Format("15:04:05.000"), f.service, f.kind, f.stage)
	if f.status != 0 {
		text += fmt.Sprintf(" %d %s", f.status, f.part)
	}
	text += fmt.Sprintf(" after %v: %v", f.ended.Sub(f.began).Round(time.Millisecond), f.err)
	if !f.sent.IsZero() {
		text += ", sent after " + f.sent.Sub(f.began).Round(time.Millisecond).String()
	}
	if f.instance != "" {
		text += ", answered by " + f.instance
	}
	if f.log.Message != "" {
		text += fmt.Sprintf(" (log: %d, target %s: %s)", f.log.Status, f.log.Target, f.log.Error)
	}
	return text + " [" + f.nonce + "]"
}

// begun enters that x has begun.
func (l *ledger) begun(x *exchange) {
	x.began = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tallyLocked(x).sent++
}

func (l *ledger) tallyLocked(x *exchange) *tally {
	t := l.tallies[x.kind]
	if t == nil {
		t = new(tally)
		l.tallies[x.kind] = t
	}
	return t
}

// good enters that x has ended well.
func (l *ledger) good(x *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tallyLocked(x).good++
	if x.first.IsZero() || !x.again {
		return // answers to what is sent slowly come late
	}
	took := x.first.Sub(x.began)
	if took <= l.calm.took {
		return
	}
	s := stall{took: took, of: *x, by: l.causeLocked(x)}
	if took > l.stall.took {
		l.stall = s
	}
	if s.by == "" {
		l.calm = s
	}
}

// unsent takes back that x has begun.
func (l *ledger) unsent(x *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tallyLocked(x).sent--
}

// causeLocked returns what was done while x waited for its answer, if that was to x.
func (l *ledger) causeLocked(x *exchange) string {
	var all []string
	for _, d := range l.disturbances {
		if (d.service == "" || d.service == x.service) && d.overlaps(x.began, x.first) {
			switch d.kind {
			case paused, targetKilled, targetDying, targetRestart, targetFrozen, targetSlow, proxyKilled, proxyRestarted, proxyUpgraded, upgradeKilled, nameServerAway:
				all = append(all, string(d.kind))
			}
		}
	}
	return strings.Join(all, ", ")
}

// failed enters that x has failed.
func (l *ledger) failed(x *exchange, at stage, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, failure{exchange: *x, ended: time.Now(), stage: at, err: err})
}

// logged enters a line of the proxy's log about a request that did not go well.
func (l *ledger) logged(line logLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[line.RequestID] = line
}

// A finding is what a failure is put down to. Without a clause it is put down to
// nothing.
type finding struct {
	*failure
	clause *clause
}

// judge puts each failure down to a clause of the contract, or to nothing.
func (l *ledger) judge() (findings []finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.failures {
		f := &l.failures[i]
		line, ok := l.lines[f.nonce]
		f.log, f.unlogged = line, !ok && l.isKilledLocked(f.ended)
		findings = append(findings, finding{f, l.clauseLocked(f)})
	}
	return findings
}

// isKilledLocked reports whether a proxy was killed before it can have written what it had to
// say of a request that ended then.
func (l *ledger) isKilledLocked(then time.Time) bool {
	return slices.ContainsFunc(l.disturbances, func(d *disturbance) bool {
		return (d.kind == proxyKilled || d.kind == upgradeKilled) && d.overlaps(then, then.Add(logDelay))
	})
}

// hasFault reports whether something has failed for at least a second that is put down to
// nothing. By then the proxy's log says why.
func (l *ledger) hasFault() bool {
	for _, f := range l.judge() {
		if f.clause == nil && time.Since(f.ended) > time.Second {
			return true
		}
	}
	return false
}

func (l *ledger) clauseLocked(f *failure) *clause {
	for i := range contract {
		c := &contract[i]
		for _, d := range l.disturbances {
			if d.kind == c.disturbance && (d.service == "" || d.service == f.service) &&
				d.overlaps(f.began.Add(-c.later), f.ended) && c.allows(f, d) {
				return c
			}
		}
	}
	return nil
}
