package histogram

import "time"

// A Traffic counts requests, and apart from the time that they took the time that
// they waited before. The zero Traffic is empty and ready for use. Its methods may be
// called from any goroutine.
type Traffic struct {
	took   Histogram
	waited Histogram // of those that did
}

// A TrafficMinute is what a Traffic has counted within a minute.
type TrafficMinute struct {
	Minute
	Waited  float64       // how much of the requests have waited: 0 to 1
	WaitP99 time.Duration // 99 % of those waited no longer; 0: there were none
}

// Observe counts a request that has ended at the time at. It was there for a time in
// all, of which it has waited for a part.
func (t *Traffic) Observe(at, inAll, waited time.Duration, failed bool) {
	t.took.Observe(at, max(inAll-waited, 0), failed)
	if waited > 0 {
		t.waited.Observe(at, waited, false)
	}
}

// Minute returns what has ended within the minute before at.
func (t *Traffic) Minute(at time.Duration) TrafficMinute {
	m := TrafficMinute{Minute: t.took.Minute(at)}
	if waited := t.waited.Minute(at); m.Count > 0 {
		m.Waited, m.WaitP99 = min(float64(waited.Count)/float64(m.Count), 1), waited.P99
	}
	return m
}
