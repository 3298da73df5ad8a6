package accesslog

import (
	"math"
	"slices"
)

// A kind of lines is what is kept by itself: a busy minute is not to push out
// why a deploy has failed.
type kind int

const (
	fromRequest kind = iota // of a request
	fromProgram             // of the program
	kinds
)

// A history keeps the last lines of each kind, and brings them to readers in
// the order in which they came. It is guarded by whoever has it.
type history struct {
	kept    [kinds]ring
	order   uint64 // of the line to come
	readers []*reader
}

// A reader reads from a history while lines are added to it. What was forgotten
// before the reader came to it is missed.
type reader struct {
	service string        // "": lines of all, and of none
	wake    chan struct{} // has an element if a line has come
	next    [kinds]uint64 // number of the line to be looked at; at least the ring's first
	end     uint64        // order of the first line that it does not get
	missed  int           // lines since the last take
}

func (r *reader) wants(service string) bool { return r.service == "" || r.service == service }

// add adds a line. One that is too long is kept as one that was missed.
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

// openReader returns a reader of the last n lines about a service, if 0 of all that are
// kept, if negative of none, and if it follows of those to come. It must be left.
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

// lastBefore returns the kind of the line that came last of those before r.
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

// firstAfter returns the kind of the line that came first of those that r has not
// looked at.
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

// read appends to dst what r has not read, as long as there is room, or else one
// line. In the place of those that were missed is what appendMissed appends. It
// reports whether there is more.
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

// has reports whether a line of that service is kept.
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
