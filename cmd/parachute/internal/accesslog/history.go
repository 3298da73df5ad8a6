package accesslog

import (
	"math"
	"slices"
)

// A kind is a kind of lines that has a ring of its own, so that lines of requests
// cannot push out the reason why a deploy has failed.
type kind int

const (
	fromRequest kind = iota
	fromProgram
	kinds
)

// A history keeps the last lines of each kind, and hands them to readers in the
// order in which they came. Its owner must serialize all calls.
type history struct {
	kept    [kinds]ring
	order   uint64 // order of the next line
	readers []*reader
}

// A reader reads from a history while lines are added to it. It misses lines that
// are forgotten before it has read them.
type reader struct {
	service string        // the service whose lines it reads; "" for all lines
	wake    chan struct{} // has an element if a line was added
	next    [kinds]uint64 // by kind, the number of the next line; at least the ring's first
	end     uint64        // order of the first line that it does not read
	missed  int           // lines missed since the last read
}

func (r *reader) wants(service string) bool { return r.service == "" || r.service == service }

// add adds a line. A line that is too long is added empty, and counts as missed.
func (h *history) add(k kind, service string, line []byte) {
	if len(line) > keptBytes {
		line = nil
	}
	ring := &h.kept[k]
	for ring.isFull(len(line)) {
		h.forget(k)
	}
	ring.add(h.order, service, line)
	h.order++
	for _, r := range h.readers {
		if r.wants(service) {
			wake(r.wake)
		}
	}
}

// forget forgets the oldest line of a kind.
func (h *history) forget(k kind) {
	ring := &h.kept[k]
	for _, r := range h.readers {
		if r.next[k] > ring.first {
			continue
		}
		r.next[k]++
		if r.wants(ring.line(ring.first).service) {
			r.missed++
		}
	}
	ring.first++
}

// openReader returns a reader of the last n lines about a service; of all kept
// lines if n is 0, and of none if n is negative. If it follows, it also reads
// later lines. The caller must call closeReader.
func (h *history) openReader(service string, n int, follow bool) *reader {
	r := &reader{service: service, wake: make(chan struct{}, 1), end: h.order}
	if follow {
		r.end = math.MaxUint64
	}
	for k := range h.kept {
		r.next[k] = h.kept[k].end
	}
	if n == 0 {
		n = keptLines * int(kinds)
	}
	for n > 0 {
		k, ok := h.lastBefore(r)
		if !ok {
			break
		}
		r.next[k]--
		if r.wants(h.kept[k].line(r.next[k]).service) {
			n--
		}
	}
	h.readers = append(h.readers, r)
	return r
}

func (h *history) closeReader(r *reader) {
	h.readers = slices.DeleteFunc(h.readers, func(other *reader) bool { return other == r })
}

// lastBefore returns the kind of the line that r would read before the others if
// it went back by one.
func (h *history) lastBefore(r *reader) (last kind, ok bool) {
	var order uint64
	for k := range kinds {
		if r.next[k] == h.kept[k].first {
			continue
		}
		if l := h.kept[k].line(r.next[k] - 1); !ok || l.order > order {
			last, order, ok = k, l.order, true
		}
	}
	return last, ok
}

// firstAfter returns the kind of the next line for r.
func (h *history) firstAfter(r *reader) (first kind, ok bool) {
	var order uint64
	for k := range kinds {
		if r.next[k] == h.kept[k].end {
			continue
		}
		if l := h.kept[k].line(r.next[k]); !ok || l.order < order {
			first, order, ok = k, l.order, true
		}
	}
	return first, ok
}

// read appends lines that r has not read yet to dst: at least one, and further
// ones as long as dst has room. For lines that were missed it calls appendMissed.
// It reports whether there are more lines.
func (h *history) read(r *reader, dst []byte, appendMissed func(dst []byte, lines int) []byte) (lines []byte, more bool) {
	if r.missed > 0 {
		dst = appendMissed(dst, r.missed)
		r.missed = 0
	}
	for {
		k, ok := h.firstAfter(r)
		if !ok {
			return dst, false
		}
		ring := &h.kept[k]
		l := ring.line(r.next[k])
		switch {
		case l.order >= r.end:
			return dst, false
		case !r.wants(l.service):
		case l.size == 0:
			dst = appendMissed(dst, 1)
		case len(dst) > 0 && len(dst)+int(l.size) > cap(dst):
			return dst, true
		default:
			dst = ring.appendText(dst, l)
		}
		r.next[k]++
	}
}

// has reports whether a line about that service is kept.
func (h *history) has(service string) bool {
	for k := range h.kept {
		ring := &h.kept[k]
		for i := ring.first; i < ring.end; i++ {
			if ring.line(i).service == service {
				return true
			}
		}
	}
	return false
}
