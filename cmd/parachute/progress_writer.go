package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// A progressWriter shows the lines of a story: on a terminal each in the place of the one
// before of the same key, with a clock that runs, until it is told that they are
// settled; elsewhere only those that have news. Who has made one must call stop.
type progressWriter struct {
	out     io.Writer
	service string
	width   int            // of the column of targets
	display func() display // that of out, which may be resized

	ticker  sync.WaitGroup
	stopped chan struct{}

	mu      sync.Mutex  // guards what follows, and is held while out is written to
	lines   []shownLine // that may change, the last ones before the cursor
	ticking bool        // tick does
}

// shownLine is a line and when it was.
type shownLine struct {
	progressLine
	at time.Time
}

// The widths of columns: of targets at least as much as "done in 12.3s" takes,
// and of what is told of one.
const (
	minTargetWidth = 13
	statusWidth    = 24
)

func newProgressWriter(out io.Writer, s *formatter, ask func() display) *progressWriter {
	t := &progressWriter{out: out, service: s.service, width: minTargetWidth, display: ask, stopped: make(chan struct{})}
	for _, target := range s.targets {
		t.width = max(t.width, utf8.RuneCountInString(target))
	}
	return t
}

// tickInterval is how often clocks move.
const tickInterval = 100 * time.Millisecond

// show shows a line.
func (t *progressWriter) show(r progressLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.display()
	if d.rows == 0 {
		if r.isNew {
			io.WriteString(t.out, t.format(r, 0, display{})+"\n")
		}
		return
	}
	drawn := len(t.lines)
	at := 0
	for at < drawn && t.lines[at].key != r.key {
		at++
	}
	if at == drawn && drawn+1 >= d.rows {
		t.lines, drawn, at = nil, 0, 0 // what has left the terminal cannot be changed
	}
	if at == len(t.lines) {
		t.lines = append(t.lines, shownLine{})
	}
	t.lines[at] = shownLine{r, time.Now()}
	t.drawLocked(d, drawn)
	if r.ongoing && !t.ticking {
		t.ticking = true
		t.ticker.Go(t.tick)
	}
}

// settle leaves what is shown as it is: what comes goes below.
func (t *progressWriter) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = nil
}

// stop ends the clocks.
func (t *progressWriter) stop() {
	t.settle()
	close(t.stopped)
	t.ticker.Wait()
}

// tick moves the clocks.
func (t *progressWriter) tick() {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-t.stopped:
			return
		case <-ticker.C:
		}
		t.mu.Lock()
		if len(t.lines) > 0 {
			t.drawLocked(t.display(), len(t.lines))
		}
		t.mu.Unlock()
	}
}

// Besides colours, a terminal has to know how to erase a line from the cursor on,
// and how to go up.
const (
	eraseLine = "\x1b[K"
	cursorUp  = "\x1b[%dA"
)

// drawLocked draws the lines, of which some were drawn before: it goes up to the
// first of these, and ends below the last.
func (t *progressWriter) drawLocked(d display, drawn int) {
	var b strings.Builder
	if drawn > 0 {
		fmt.Fprintf(&b, cursorUp, drawn)
	}
	for _, line := range t.lines {
		b.WriteString("\r" + eraseLine + t.format(line.progressLine, time.Since(line.at), d) + "\n")
	}
	io.WriteString(t.out, b.String())
}

// format returns a line in columns that fits into d, if that is a terminal.
func (t *progressWriter) format(r progressLine, later time.Duration, d display) string {
	before := t.service + "  "
	what := fmt.Sprintf("%-*s  ", t.width, r.status)
	if r.target != "" {
		before += fmt.Sprintf("%-*s  ", t.width, r.target)
		what = fmt.Sprintf("%-*s  ", statusWidth, r.status)
	}
	detail := strings.Join(strings.Fields(r.detail), " ") // an error may have several lines
	clock := r.clock(later)
	if detail != "" && clock != "" {
		clock = " " + clock
	}
	if detail+clock == "" {
		what = strings.TrimRight(what, " ")
	}
	line := []string{printable(before), printable(what), printable(detail), clock}
	if d.columns > 0 {
		fitColumns(line, d.columns-1) // in the last column some terminals begin a new line
	}
	if colour := colours[r.tone]; d.colour && colour != "" {
		line[1] = colour + line[1] + "\x1b[0m"
	}
	return strings.Join(line, "")
}

// colours of tones.
var colours = [...]string{tonePlain: "", toneGood: "\x1b[32m", toneWaiting: "\x1b[33m", toneBad: "\x1b[31m"}

// fitColumns cuts off what of the parts of a line goes beyond a number of columns: of
// the last but one if that is enough, for the last has the clock.
func fitColumns(parts []string, columns int) {
	clock := len(parts) - 1
	before := displayWidth(strings.Join(parts[:clock-1], ""))
	if room := columns - before - displayWidth(parts[clock]); room >= 0 && parts[clock-1] != "" {
		parts[clock-1] = truncate(parts[clock-1], max(room, 1))
	}
	for i, part := range parts {
		runes := []rune(part)
		n := min(len(runes), max(columns, 0))
		parts[i] = string(runes[:n])
		columns -= n
	}
}
