package main

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Time limits that the services are deployed with, so that the contract knows them.
const (
	targetTimeout = 10 * time.Second
	holdTimeout   = 10 * time.Second
)

// quicSilence is after how long a client of HTTP/3 gives up a connection on which nothing
// comes. It has no other way to see that its peer was killed.
const quicSilence = 5 * time.Second

// crossing is how long a request takes at most to the proxy: one that was sent so long
// before the proxy closed an idle connection may not have been there.
const crossing = 50 * time.Millisecond

// A clause is one case in which a request may fail.
type clause struct {
	cause       string // of the failure, as the table at the end has it
	doc         string // where it says so: a file of the repository, and a heading
	disturbance what   // during which it may
	allows      func(f *failure, d *disturbance) bool
	later       time.Duration // how long after that, too
}

// contract is all that may fail. What it does not allow is a fault.
var contract = []clause{
	{"the service was stopped", "docs/deploying.md#pausing-and-stopping", stopped, func(f *failure, _ *disturbance) bool {
		return f.stage == refused && f.status == 503 && f.part == "stopped"
	}, 0},
	{"the service was removed", "docs/deploying.md#error-pages", removed, func(f *failure, _ *disturbance) bool {
		return f.stage == refused && f.status == 404 && f.part == "no-route"
	}, 0},

	{"target killed with a request that may not be sent twice", "docs/deploying.md#when-a-target-fails", targetKilled, brokeOff, 0},
	{"target killed while it answered", "docs/how-a-deploy-works.md#what-is-promised", targetKilled, cutByItsTarget, 0},
	{"target died with a request that may not be sent twice", "docs/deploying.md#when-a-target-fails", targetDying, brokeOff, 0},
	{"target died while it answered", "docs/how-a-deploy-works.md#what-is-promised", targetDying, cutByItsTarget, 0},
	{"target restarted with a request that may not be sent twice", "docs/deploying.md#when-a-target-fails", targetRestart, brokeOff, 0},
	{"target restarted while it answered", "docs/how-a-deploy-works.md#what-is-promised", targetRestart, cutByItsTarget, 0},
	{"target closed a connection that was just used", "docs/deploying.md#several-targets-and-targets-for-reading", idleClosed, brokeOff, 0},
	{"target frozen for longer than --target-timeout", "docs/deploying.md#time-limits", targetFrozen, func(f *failure, d *disturbance) bool {
		return f.stage == refused && f.status == 504 && f.part == "timeout" && d.lasted() >= targetTimeout
	}, 0},
	{"target frozen that was told of the end of a stream", "docs/how-a-deploy-works.md#what-is-promised", targetFrozen, func(f *failure, d *disturbance) bool {
		broken, ok := f.err.(brokenStream)
		return ok && errors.Is(broken.error, context.DeadlineExceeded) && f.instance == d.instance.name && d.lasted() >= farewell
	}, 0},
	{"no target for longer than --hold", "docs/deploying.md#when-a-target-fails", targetKilled, func(f *failure, d *disturbance) bool {
		return f.stage == refused && f.status == 502 && f.part == "dial" && d.lasted() >= holdTimeout
	}, 0},

	{"stream ended by a deploy", "docs/applications.md#what-clients-see-at-a-deploy", deployed, streamEnded, 0},
	{"stream ended by a deploy whose client was killed", "docs/applications.md#what-clients-see-at-a-deploy", deployKilled, streamEnded, 0},
	{"stream ended by a deploy that was to fail", "docs/applications.md#what-clients-see-at-a-deploy", deployDying, streamEnded, 0},
	{"answered by the old version again: deploy taken back", "docs/deploying.md#when-a-target-fails-after-the-switch", takenBack, func(f *failure, _ *disturbance) bool {
		_, stale := f.err.(staleAnswer)
		return stale
	}, 0},
	{"stream ended by a rollout", "docs/applications.md#what-clients-see-at-a-deploy", rolledOut, streamEnded, 0},
	{"stream ended by a pause", "docs/deploying.md#pausing-and-stopping", paused, streamEnded, 0},
	{"stream ended by a stop", "docs/deploying.md#pausing-and-stopping", stopped, streamEnded, 0},
	{"stream ended by a removal", "docs/how-a-deploy-works.md#streams", removed, streamEnded, 0},

	{"no room for a buffered body", "docs/deploying.md#bodies", diskFull, func(f *failure, _ *disturbance) bool {
		return f.stage == refused && f.status == 503 && strings.Contains(f.log.Error, "no space left on device")
	}, 0},
	{"deploy not decided, or taken back: target killed", "docs/deploying.md#when-a-target-fails-after-the-switch", targetKilled, isDoubt, 0},
	{"deploy not decided, or taken back: target died", "docs/deploying.md#when-a-target-fails-after-the-switch", targetDying, isDoubt, 0},
	{"deploy not decided, or taken back: target restarted", "docs/deploying.md#when-a-target-fails-after-the-switch", targetRestart, isDoubt, 0},
	{"deploy not decided, or taken back: target frozen", "docs/deploying.md#when-a-target-fails-after-the-switch", targetFrozen, isDoubt, 0},
	{"certificate of the deploy does not fit: half replaced", "docs/tls.md#certificates-from-files", rotated, func(f *failure, _ *disturbance) bool {
		return isCommand(f, nil) && strings.Contains(f.err.Error(), "does not fit the certificate")
	}, 0},
	{"change not written: disk full", "docs/how-a-deploy-works.md#what-is-promised", diskFull, isCommand, 0},
	{"target of the deploy not found: name server away", "docs/deploying.md#when-a-deploy-fails", nameServerAway, isCommand, 0},

	{"proxy killed", "docs/operating.md#signals", proxyKilled, func(f *failure, _ *disturbance) bool {
		return f.stage != checking && f.stage != idling
	}, 0},
	{"connection of HTTP/3 to a proxy that was killed", "docs/operating.md#signals", proxyKilled, lostOverQUIC, quicSilence},
	{"new process of an upgrade killed with its requests", "docs/operating.md#a-new-version-of-the-proxy-itself", upgradeKilled, func(f *failure, _ *disturbance) bool {
		switch f.stage {
		case asking, answering, streaming, commanding:
			return true
		}
		return false // nobody is refused: the old one has the sockets
	}, 0},
	{"connection of HTTP/3 to a new process that was killed", "docs/operating.md#a-new-version-of-the-proxy-itself", upgradeKilled, lostOverQUIC, quicSilence},
	{"request over HTTP/3 that an upgrade rejected unprocessed", "docs/operating.md#a-new-version-of-the-proxy-itself", proxyUpgraded, func(f *failure, _ *disturbance) bool {
		return lostOverQUIC(f, nil) && strings.Contains(f.err.Error(), "H3_REQUEST_REJECTED")
	}, 0},
	{"stream ended by an upgrade of the proxy", "docs/operating.md#a-new-version-of-the-proxy-itself", proxyUpgraded, streamEnded, 0},
	{"stream ended by a restart of the proxy", "docs/operating.md#signals", proxyRestarted, streamEnded, 0},
	{"paused when the proxy was told to end", "docs/operating.md#signals", proxyRestarted, func(f *failure, _ *disturbance) bool {
		return f.stage == refused && f.status == 503 && f.part == "draining" && strings.HasSuffix(f.log.Error, "proxy closed")
	}, 0},
	{"proxy restarted, and was not there", "docs/operating.md#a-new-version-of-the-proxy-itself", proxyRestarted, func(f *failure, d *disturbance) bool {
		switch f.stage {
		case connecting, commanding:
			return true
		case asking: // on a connection that the proxy was about to close
			return f.sent.IsZero() || f.sent.After(d.from.Add(-crossing))
		}
		return false
	}, 0},
}

// lostOverQUIC reports whether nothing came over HTTP/3 any more.
func lostOverQUIC(f *failure, _ *disturbance) bool {
	return f.stage == asking && strings.HasPrefix(f.kind, "HTTP/3")
}

func isCommand(f *failure, _ *disturbance) bool { return f.stage == commanding }

// isDoubt reports whether a deploy has not stayed, or may not.
func isDoubt(f *failure, _ *disturbance) bool {
	return f.stage == commanding && (f.status == exitUndecided || f.part == "taken_back")
}

// brokeOff reports whether a request was answered 502 that the target of d had, and for
// which that is right, because it may not be sent twice.
func brokeOff(f *failure, d *disturbance) bool {
	return f.stage == refused && f.status == 502 && f.part == "" && !f.again && f.mayBeOf(d)
}

// cutByItsTarget reports whether an answer, or a stream, broke off that the target of d
// had begun. Of an answer that is buffered the client has seen nothing yet: it gets 502.
func cutByItsTarget(f *failure, d *disturbance) bool {
	if f.stage == answering || f.stage == streaming {
		return f.instance == d.instance.name
	}
	return f.stage == refused && f.status == 502 && f.part == "" && f.service == stored && f.mayBeOf(d)
}

// streamEnded reports whether a stream ended in the way that clients are told to
// expect.
func streamEnded(f *failure, _ *disturbance) bool {
	if f.stage != streaming {
		return false
	}
	_, inOrder := f.err.(endedInOrder)
	return inOrder
}
