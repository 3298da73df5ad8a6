package page

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

// A line is one of the lines of a chart. Its points are one for each step, the last one
// for the last step; NaN is a gap.
type line struct {
	Name   string
	Class  string // of the style sheet: color and dashes
	points []float64
}

// A Chart is what a template needs to show one.
type Chart struct {
	ID    string
	Title string
	Lines []line
	Text  string        // what it shows, in words
	SVG   template.HTML // the drawing
}

const (
	chartWidth, chartHeight = 600, 140
	sparkWidth, sparkHeight = 120, 24
	sparkPoints             = int(15 * time.Minute / stepTime / 2) // of two steps each
)

// newChart draws lines, with marks, over an hour that ends at end.
func newChart(id, title string, format func(float64) string, lines []line, marks []mark, end time.Time) Chart {
	c := Chart{ID: id, Title: title, Lines: lines}
	var most float64
	var words []string
	for _, l := range lines {
		now, top := math.NaN(), math.NaN()
		for _, v := range l.points {
			if now = v; !math.IsNaN(v) && !(top >= v) {
				top = v
			}
		}
		if math.IsNaN(top) {
			words = append(words, l.Name+": nothing yet")
			continue
		}
		most = max(most, top)
		word := l.Name + ": at most " + format(top)
		if !math.IsNaN(now) {
			word += ", last " + format(now)
		}
		words = append(words, word)
	}
	var drawn []string
	begin := end.Add(-time.Hour)
	for _, m := range marks {
		if m.time.After(begin) {
			drawn = append(drawn, fmt.Sprintf("%s at %s", m.kind, clock(m.time)))
		}
	}
	if len(drawn) > 0 {
		words = append(words, "marks: "+strings.Join(drawn, ", "))
	}
	c.Text = strings.Join(words, "; ")

	top := niceTop(most)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-labelledby="%s-title %[3]s-text">`, chartWidth, chartHeight, id)
	for _, share := range []float64{0.5, 1} {
		y := chartHeight * (1 - share)
		fmt.Fprintf(&b, `<line class="grid" x1="0" x2="%d" y1="%.1f" y2="%.1f"/>`, chartWidth, y, y)
	}
	drawMarks(&b, marks, begin, end, chartWidth, chartHeight)
	for _, l := range lines {
		drawLine(&b, l.Class, l.points, steps, top, chartWidth, chartHeight)
	}
	b.WriteString(`</svg>`)
	fmt.Fprintf(&b, `<p class="scale" aria-hidden="true"><span>top: %s</span><span>%s to %s</span></p>`,
		template.HTMLEscapeString(format(top)), clock(begin), clock(end))
	c.SVG = template.HTML(b.String()) // numbers, and texts that were escaped
	return c
}

// spark draws the requests per second of a quarter of an hour.
func spark(all []step, marks []mark, end time.Time) template.HTML {
	points := make([]float64, 0, sparkPoints)
	var most, now float64
	for two := range slices.Chunk(all[max(0, len(all)-2*sparkPoints):], 2) {
		now = 0
		for _, s := range two {
			now += float64(s.requests()) / stepTime.Seconds() / float64(len(two))
		}
		most = max(most, now)
		points = append(points, now)
	}
	begin := end.Add(-15 * time.Minute)
	text := fmt.Sprintf("Requests per second for 15 minutes: at most %s, last %s", formatRate(most), formatRate(now))
	for _, m := range marks {
		if m.time.After(begin) {
			text += fmt.Sprintf("; %s at %s", m.kind, clock(m.time))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s">`,
		sparkWidth, sparkHeight, template.HTMLEscapeString(text))
	drawMarks(&b, marks, begin, end, sparkWidth, sparkHeight)
	drawSpark(&b, points, max(most, 1))
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) // likewise
}

// drawMarks draws a line, of another shape for each kind, and says on it what it is.
func drawMarks(b *strings.Builder, marks []mark, begin, end time.Time, width, height int) {
	for _, m := range marks {
		if !m.time.After(begin) || m.time.After(end) {
			continue
		}
		x := float64(width) * float64(m.time.Sub(begin)) / float64(end.Sub(begin))
		class := "mark"
		if m.kind == parachute.EventFailed || m.kind == parachute.EventTakenBack {
			class = "mark bad"
		}
		fmt.Fprintf(b, `<line class="%s" x1="%.1f" x2="%.1f" y1="0" y2="%d"><title>%s</title></line>`,
			class, x, x, height, template.HTMLEscapeString(clock(m.time)+" "+string(m.kind)+" "+m.text))
	}
}

// drawLine draws points, the last of which is at the right end, from 0 to top.
func drawLine(b *strings.Builder, class string, points []float64, slots int, top float64, width, height int) {
	at := func(i int) float64 {
		return float64(width) * float64(slots-len(points)+i+1) / float64(slots)
	}
	begun := false
	for i, v := range points {
		if math.IsNaN(v) {
			if begun {
				b.WriteString(`"/>`)
			}
			begun = false
			continue
		}
		if !begun {
			fmt.Fprintf(b, `<polyline class="line %s" points="`, class)
			begun = true
			if i == len(points)-1 { // one point alone would not be seen
				fmt.Fprintf(b, "%.1f,%.1f ", at(i-1), float64(height)*(1-v/top))
			}
		}
		b.WriteString(strconv.FormatFloat(at(i), 'f', 1, 64))
		b.WriteByte(',')
		b.WriteString(strconv.FormatFloat(float64(height)*(1-v/top), 'f', 1, 64))
		b.WriteByte(' ')
	}
	if begun {
		b.WriteString(`"/>`)
	}
}

// drawSpark draws points as drawLine does, in few bytes, for there may be a thousand of
// them: in whole numbers, each relative to the one before.
func drawSpark(b *strings.Builder, points []float64, top float64) {
	if len(points) == 0 {
		return
	}
	const width = sparkWidth / sparkPoints
	y := func(v float64) int { return int(math.Round(sparkHeight * (1 - v/top))) }
	last, flat := y(points[0]), width
	fmt.Fprintf(b, `<path class="line all" d="M%d %d`, width*(sparkPoints-len(points)), last)
	for _, v := range points[1:] {
		next := y(v)
		if next == last {
			flat += width
			continue
		}
		if flat > 0 {
			fmt.Fprintf(b, "h%d", flat)
		}
		fmt.Fprintf(b, "l%d %d", width, next-last)
		last, flat = next, 0
	}
	if flat > 0 {
		fmt.Fprintf(b, "h%d", flat)
	}
	b.WriteString(`"/>`)
}

// niceTop returns the least of 1, 2 and 5 times a power of ten that is not below v.
func niceTop(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, factor := range []float64{1, 2, 5} {
		if unit*factor >= v {
			return unit * factor
		}
	}
	return 10 * unit
}

// perSecond returns how many requests there were per second, of those that count tells.
func perSecond(all []step, count func(step) uint32) []float64 {
	points := make([]float64, len(all))
	for i, s := range all {
		points[i] = float64(count(s)) / stepTime.Seconds()
	}
	return points
}

// times returns a time of each step, and a gap where there was no request.
func times(all []step, of func(step) float32) []float64 {
	points := make([]float64, len(all))
	for i, s := range all {
		points[i] = math.NaN()
		if s.requests() > 0 {
			points[i] = float64(of(s))
		}
	}
	return points
}

func classLines(all []step) []line {
	var lines []line
	for i, name := range classNames() {
		lines = append(lines, line{name, "c" + name[:1], perSecond(all, func(s step) uint32 { return s.classes[i] })})
	}
	return lines
}

func timeLines(all []step) []line {
	return []line{
		{"p50", "p50", times(all, func(s step) float32 { return s.p50 })},
		{"p99", "p99", times(all, func(s step) float32 { return s.p99 })},
	}
}

func flightLines(all []step) []line {
	points := make([]float64, len(all))
	for i, s := range all {
		points[i] = float64(s.inFlight)
	}
	return []line{{"in flight", "all", points}}
}
