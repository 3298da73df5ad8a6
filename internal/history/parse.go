package history

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// CutJSON sets r to what AppendJSON has written at the beginning of text, and returns
// what comes behind it. If there is anything else, which package json may be able to
// read, it reports false, and r is not valid. Whoever reads thousands of them saves
// most of the time that package json takes.
func (r *Past) CutJSON(text string) (rest string, ok bool) {
	c := cursor{rest: text, ok: true}
	*r = c.past()
	return c.rest, c.ok
}

// A cursor reads text that has been written in one certain way.
type cursor struct {
	rest string
	ok   bool // it was written so until now
}

// cut reports whether the rest begins with that, and goes past it.
func (c *cursor) cut(prefix string) bool {
	rest, ok := strings.CutPrefix(c.rest, prefix)
	c.rest = rest
	return ok
}

// skip goes past what has to be there.
func (c *cursor) skip(prefix string) { c.ok = c.cut(prefix) && c.ok }

// past reads what Past.AppendJSON has written, but for what only a rollback looks into.
func (c *cursor) past() (r Past) {
	c.skip(`{"service":`)
	r.Service = c.text()
	c.skip(`,"generation":`)
	r.Generation = c.uint()
	if c.cut(`,"release":`) {
		r.Release = c.text()
	}
	if c.cut(`,"by":`) {
		r.By = c.text()
	}
	if c.cut(`,"restores":`) {
		r.Restores = c.uint()
	}
	c.skip(`,"targets":[`)
	for r.Targets = make([]string, 0, 1); c.ok && !c.cut("]"); {
		if len(r.Targets) > 0 {
			c.skip(",")
		}
		r.Targets = append(r.Targets, c.text())
	}
	if c.cut(`,"switched":`) {
		r.Switched = c.time()
	}
	if c.cut(`,"ended":`) {
		r.Ended = c.time()
	}
	if c.cut(`,"end":`) {
		r.End = End(c.text())
	}
	c.skip(`,"figures":`)
	r.Figures = c.figures()
	c.skip("}")
	return r
}

// figures reads what Figures.MarshalJSON has written.
func (c *cursor) figures() (f Figures) {
	c.skip(`{"requests":`)
	f.Requests = c.uint()
	c.skip(`,"errors":`)
	f.Errors = c.uint()
	c.skip(`,"error_rate":`)
	f.ErrorRate = c.float()
	c.skip(`,"served":`)
	f.Served = c.duration()
	c.skip(`,"p50":`)
	f.P50 = c.duration()
	c.skip(`,"p99":`)
	f.P99 = c.duration()
	c.skip("}")
	return f
}

// until returns what comes before the next end, which must come.
func (c *cursor) until(end byte) (before string) {
	i := strings.IndexByte(c.rest, end)
	if i < 0 {
		c.ok = false
		return ""
	}
	before, c.rest = c.rest[:i], c.rest[i:]
	return before
}

// text reads a string in which nothing is escaped.
func (c *cursor) text() string {
	c.skip(`"`)
	s := c.until('"')
	c.skip(`"`)
	c.ok = c.ok && isPlain(s)
	return s
}

func (c *cursor) uint() uint64 {
	n := 0
	for n < len(c.rest) && '0' <= c.rest[n] && c.rest[n] <= '9' {
		n++
	}
	digits := c.rest[:n]
	c.rest = c.rest[n:]
	u, err := strconv.ParseUint(digits, 10, 64)
	c.ok = c.ok && err == nil && (digits == "0" || digits[0] != '0')
	return u
}

func (c *cursor) float() (f float64) {
	number := c.until(',')
	if number == "0" { // as it mostly is
		return 0
	}
	c.ok = json.Unmarshal([]byte(number), &f) == nil && c.ok
	return f
}

func (c *cursor) duration() time.Duration {
	d, err := time.ParseDuration(c.text())
	c.ok = c.ok && err == nil
	return d
}

func (c *cursor) time() (t time.Time) {
	c.ok = t.UnmarshalText([]byte(c.text())) == nil && c.ok
	return t
}
