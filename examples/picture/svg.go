package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
)

// The measures of a picture, in pixels. Every run of characters is told how wide
// it has to be, so that columns are columns in whatever font there is.
const (
	charWidth  = 8.4
	lineHeight = 20
	fontSize   = 14
	margin     = 20
	barHeight  = 34 // above the text, as of a window
)

const (
	ground     = "#282c34"
	bar        = "#21252b"
	foreground = "#d7dae0"
)

// svg returns a picture of what is on s, under a title.
func svg(s *screen, title string) []byte {
	rows := s.rows
	for len(rows) > 0 && len(runs(rows[len(rows)-1])) == 0 {
		rows = rows[:len(rows)-1]
	}
	width := int(charWidth*float64(s.columns)) + 2*margin
	height := barHeight + lineHeight*len(rows) + 2*margin - (lineHeight - fontSize)

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", escaped(title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="%s"/>`+"\n", width, height, ground)
	fmt.Fprintf(&b, `<path d="M0 %d V8 a8 8 0 0 1 8 -8 H%d a8 8 0 0 1 8 8 V%[1]d z" fill="%[3]s"/>`+"\n", barHeight, width-8, bar)
	for i, colour := range []string{palette[1], palette[3], palette[2]} {
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="6" fill="%s"/>`+"\n", margin+20*i, barHeight/2, colour)
	}
	fmt.Fprintf(&b, `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="%d" fill="%s">`+"\n", fontSize, foreground)
	for i, row := range rows {
		for _, r := range runs(row) {
			r.write(&b, barHeight+margin+fontSize/2+lineHeight*i)
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.Bytes()
}

// A run is what stands in a row in one style, without a gap of more than a
// space.
type run struct {
	column int
	text   string
	length int // in characters
	style  style
}

// runs takes a row apart. Spaces at the ends of a run are not part of it.
func runs(row []cell) []run {
	var all []run
	gap := 0 // columns since the end of the last run
	for column, c := range row {
		if c.char == 0 || c.char == ' ' {
			gap++
			continue
		}
		last := len(all) - 1
		if last >= 0 && gap <= 1 && all[last].style == c.style {
			all[last].text += strings.Repeat(" ", gap) + string(c.char)
			all[last].length += gap + 1
		} else {
			all = append(all, run{column, string(c.char), 1, c.style})
		}
		gap = 0
	}
	return all
}

func (r run) write(b *bytes.Buffer, y int) {
	fmt.Fprintf(b, `<text x="%.1f" y="%d" textLength="%.1f" lengthAdjust="spacingAndGlyphs"`,
		margin+charWidth*float64(r.column), y, charWidth*float64(r.length))
	if r.style.colour != "" {
		fmt.Fprintf(b, ` fill="%s"`, r.style.colour)
	}
	if r.style.bold {
		b.WriteString(` font-weight="bold"`)
	}
	if r.style.faint {
		b.WriteString(` opacity="0.6"`)
	}
	fmt.Fprintf(b, ">%s</text>\n", escaped(r.text))
}

func escaped(text string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
