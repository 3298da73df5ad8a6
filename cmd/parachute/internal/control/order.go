package control

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// arrivalHeader says of a change that a process hands on which of those it was that this
// process was asked for.
const arrivalHeader = "Parachute-Arrival"

// An order keeps changes from those that were asked for earlier and come later: a process
// that is replaced hands on its changes side by side, and others are asked for of the new
// process meanwhile.
type order struct {
	mu     sync.Mutex
	newest map[subject]int64 // arrival of the newest change that has begun; nil: of none
}

// A subject is what of a service only one of several changes can have.
type subject struct{ service, part string }

// parts returns what of a service a change with that verb is about.
func parts(verb string) []string {
	const deployment, state, rollout, split = "deployment", "state", "rollout", "split"
	switch verb {
	case "remove":
		return []string{deployment, state, rollout, split}
	case "pause", "stop", "resume":
		return []string{state}
	case "rollout", "end rollout":
		return []string{rollout}
	case "promote":
		return []string{deployment, rollout}
	case "split":
		return []string{split}
	}
	return []string{deployment}
}

// isOvertaken reports whether a newer change of one of these services has begun before r,
// which asks for a change with that verb; if not, r begins. One that was not handed on by
// the Predecessor is newer than all that were.
func (s *Server) isOvertaken(r *http.Request, verb string, services ...string) bool {
	if s.Predecessor == nil {
		return false
	}
	arrival, err := strconv.ParseInt(r.Header.Get(arrivalHeader), 10, 64)
	if err != nil {
		arrival = math.MaxInt64
	}
	s.order.mu.Lock()
	defer s.order.mu.Unlock()
	select {
	case <-s.Predecessor:
		s.order.newest = nil // for good
		return false
	default:
	}
	if s.order.newest == nil {
		s.order.newest = make(map[subject]int64)
	}
	var subjects []subject
	for _, service := range services {
		for _, part := range parts(verb) {
			subjects = append(subjects, subject{service, part})
		}
	}
	if slices.ContainsFunc(subjects, func(of subject) bool { return arrival < s.order.newest[of] }) {
		return true
	}
	for _, of := range subjects {
		s.order.newest[of] = arrival
	}
	return false
}
