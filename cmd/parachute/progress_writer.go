package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A progressWriter shows the progress of a change. On a terminal, a line
// replaces the line with the same key, and its clock runs, until settle is
// called. On any other output, only lines that say something new are written.
// The caller of newProgressWriter must call stop.
type progressWriter struct {
	out     io.Writer
	service string
	width   int            // width of the column of targets
	display func() display // returns the display of out, which may be resized

	ticker  sync.WaitGroup
	stopped chan struct{}

	mu      sync.Mutex  // guards the fields below, and writes to out
	lines   []shownLine // the lines above the cursor, which may still change
	ticking bool        // tick does
}

// A shownLine is a line and the time when it was shown.
type shownLine struct {
	progressLine
	at time.Time
}

// The widths of columns. The column of targets has room for "done in 12.3s".
const (
	minTargetWidth = 13
	statusWidth    = 24
)

func newProgressWriter(out io.Writer, f *formatter, ask func() display) *progressWriter {
	w := &progressWriter{out: out, service: f.service, width: minTargetWidth, display: ask, stopped: make(chan struct{})}
	for _, target := range f.targets {
		w.width = max(w.width, displayWidth(target))
	}
	return w
}

// tickInterval is how often clocks move.
const tickInterval = 100 * time.Millisecond

func (w *progressWriter) show(r progressLine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.display()
	if d.rows == 0 {
		if r.isNew {
			io.WriteString(w.out, w.format(r, 0, display{})+"\n")
		}
		return
	}
	drawn := len(w.lines)
	at := 0
	for at < drawn && w.lines[at].key != r.key {
		at++
	}
	if at == drawn && drawn+1 >= d.rows {
		w.lines, drawn, at = nil, 0, 0 // lines that have scrolled away cannot be changed
	}
	if at == len(w.lines) {
		w.lines = append(w.lines, shownLine{})
	}
	w.lines[at] = shownLine{r, time.Now()}
	w.drawLocked(d, drawn)
	if r.ongoing && !w.ticking {
		w.ticking = true
		w.ticker.Go(w.tick)
	}
}

// settle makes the lines shown so far final. Later lines appear below them.
func (w *progressWriter) settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = nil
}

// stop ends the clocks.
func (w *progressWriter) stop() {
	w.settle()
	close(w.stopped)
	w.ticker.Wait()
}

// tick moves the clocks.
func (w *progressWriter) tick() {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-w.stopped:
			return
		case <-ticker.C:
		}
		w.mu.Lock()
		if len(w.lines) > 0 {
			w.drawLocked(w.display(), len(w.lines))
		}
		w.mu.Unlock()
	}
}

// The control sequences that a terminal must understand, besides colours.
const (
	eraseLine = "\x1b[K"
	cursorUp  = "\x1b[%dA"

	resetColour    = "\x1b[0m"
	reverseColours = "\x1b[7m"
)

// drawLocked draws all lines. The number of lines that were drawn before is
// drawn: it moves the cursor up to the first of these, and leaves it below the
// last line.
func (w *progressWriter) drawLocked(d display, drawn int) {
	var b strings.Builder
	if drawn > 0 {
		fmt.Fprintf(&b, cursorUp, drawn)
	}
	for _, line := range w.lines {
		b.WriteString("\r" + eraseLine + w.format(line.progressLine, time.Since(line.at), d) + "\n")
	}
	io.WriteString(w.out, b.String())
}

// format returns a line in columns that fits into d, if that is a terminal.
func (w *progressWriter) format(r progressLine, later time.Duration, d display) string {
	l := lineLayout{
		service: printable(w.service),
		target:  printable(r.target),
		status:  printable(r.status),
		detail:  onOneLine(r.detail),
		brief:   onOneLine(r.brief),
		count:   r.count,
		clock:   r.clock(later),

		targetWidth: w.width,
		statusWidth: statusWidth,
	}
	if d.columns > 0 {
		l.fit(d.columns - 1) // some terminals wrap after the last column
	}
	plain := l.text(func(status string) string { return status })
	if d.columns > 0 && displayWidth(plain) >= d.columns {
		return truncate(plain, d.columns-1) // there is no room even for the shortest names
	}
	return l.text(func(status string) string { return d.inColour(status, r.tone) })
}

// onOneLine returns a text, such as an error, that may span several lines.
func onOneLine(s string) string { return strings.Join(strings.Fields(printable(s)), " ") }

var colours = [...]string{tonePlain: "", toneGood: "\x1b[32m", toneWaiting: "\x1b[33m", toneBad: "\x1b[31m"}
