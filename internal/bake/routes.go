package bake

import (
	"strings"
	"sync/atomic"

	"github.com/shahnk19/parachute/internal/urlpath"
)

// A FailedRoute is what requests have in common that have failed.
type FailedRoute struct {
	Route     string // METHOD /segment, the first one of the path
	Status    int    // of the answer
	Requests  uint64
	RequestID string // of one of them
}

// routes are as many as are told apart.
type routes [64]atomic.Pointer[failedRoute]

type failedRoute struct {
	route
	requestID string
	count     atomic.Uint64
}

type route struct {
	method, segment string
	status          int
}

// Collect has Fail keep what it is told.
func (t *Tally) Collect() { t.routes.CompareAndSwap(nil, new(routes)) }

// Fail counts a request for target, which has failed with a status, by the first segment
// of its path. It takes no lock, and keeps nothing of what it is given.
func (t *Tally) Fail(method, target string, status int, requestID string) {
	all := t.routes.Load()
	if all == nil {
		return
	}
	r := route{method, urlpath.FirstSegment(target), status}
	for i := range all {
		f := all[i].Load()
		if f == nil {
			fresh := &failedRoute{
				route:     route{strings.Clone(r.method), strings.Clone(r.segment), status},
				requestID: strings.Clone(requestID),
			}
			all[i].CompareAndSwap(nil, fresh)
			f = all[i].Load() // it may be somebody else's
		}
		if f.route == r {
			f.count.Add(1)
			return
		}
	}
}

// worst returns the most frequent routes, at most n.
func (t *Tally) worst(n int) (worst []FailedRoute) {
	all := t.routes.Load()
	if all == nil {
		return nil
	}
	for i := range all {
		f := all[i].Load()
		if f == nil {
			break
		}
		r := FailedRoute{f.method + " " + f.segment, f.status, f.count.Load(), f.requestID}
		at := len(worst)
		for at > 0 && worst[at-1].Requests < r.Requests {
			at--
		}
		worst = append(worst[:at], append([]FailedRoute{r}, worst[at:]...)...)
	}
	return worst[:min(n, len(worst))]
}
