package main

import (
	"slices"
	"strings"
)

// A textTable is a table to print. Where the terminal is too narrow for it, each row
// is a card instead.
type textTable struct {
	header []string
	rows   [][]cell

	// notes are lines about each row, if there are any. The first cell of a row
	// says whose they are.
	notes [][]string

	// maxCellLines is how many lines a cell may have that can be shortened. If it
	// is 0, there is no limit.
	maxCellLines int
}

const columnGap = 2 // blanks between columns

// text returns the table in lines of at most that many columns. If columns is 0,
// each row is one line.
func (t *textTable) text(columns int) string {
	if len(t.rows) == 0 {
		return ""
	}
	header := make([]cell, len(t.header))
	for i, name := range t.header {
		header[i] = breakable(name)
	}
	rows := append([][]cell{header}, t.rows...)
	widths := columnWidths(rows, columns)
	if widths == nil {
		return t.cards(columns)
	}
	var out strings.Builder
	out.Grow(len(rows) * (sum(widths) + columnGap*len(widths)))
	for _, row := range rows {
		if !writeRow(&out, row, widths) {
			writeLines(&out, rowLines(row, widths, t.maxCellLines))
		}
	}
	for i, notes := range t.notes {
		for _, note := range notes {
			about := breakable(t.rows[i][0].text() + ": " + note)
			if columns == 0 {
				writeLines(&out, []string{about.text()})
			} else {
				writeLines(&out, about.lines(columns, 0))
			}
		}
	}
	return out.String()
}

// cards returns the table with a card for each row.
func (t *textTable) cards(columns int) string {
	var all []string
	for i, row := range t.rows {
		c := card{maxCellLines: t.maxCellLines}
		for j, name := range t.header {
			c.add(strings.ToLower(name), row[j])
		}
		if t.notes != nil {
			c.addNotes(t.notes[i])
		}
		all = append(all, c.text(columns))
	}
	return strings.Join(all, "\n")
}

func writeLines(out *strings.Builder, lines []string) {
	for _, line := range lines {
		out.WriteString(line + "\n")
	}
}

// writeRow writes a row as a single line, or reports false if it takes several.
func writeRow(out *strings.Builder, row []cell, widths []int) bool {
	for i, c := range row {
		if displayWidth(strings.TrimRight(c.text(), " ")) > widths[i] {
			return false
		}
	}
	at, width := 0, 0
	for i, c := range row {
		if text := strings.TrimRight(c.text(), " "); text != "" {
			for ; width < at; width++ {
				out.WriteByte(' ')
			}
			out.WriteString(text)
			width += displayWidth(text)
		}
		at += widths[i] + columnGap
	}
	out.WriteByte('\n')
	return true
}

// rowLines returns the lines of a row that takes several.
func rowLines(row []cell, widths []int, maxLines int) []string {
	type line struct {
		text  []byte
		width int
	}
	var lines []line
	at := 0
	for i, c := range row {
		for j, text := range c.lines(widths[i], maxLines) {
			if j == len(lines) {
				lines = append(lines, line{})
			}
			if l := &lines[j]; text != "" {
				l.text = append(append(l.text, blanks(at-l.width)...), text...)
				l.width = at + displayWidth(text)
			}
		}
		at += widths[i] + columnGap
	}
	all := make([]string, len(lines))
	for i, l := range lines {
		all[i] = string(l.text)
	}
	return all
}

// blanks returns n of them.
func blanks(n int) string { return strings.Repeat(" ", max(n, 0)) }

// columnWidths returns the widths of the columns of rows, so that a line has at
// most that many columns in all. If columns is 0, there is no limit. It returns
// nil if there is no room for the widest pieces.
func columnWidths(rows [][]cell, columns int) []int {
	n := len(rows[0])
	widest := func(width func(cell) int) []int {
		all := make([]int, n)
		for _, row := range rows {
			for i, c := range row {
				all[i] = max(all[i], width(c))
			}
		}
		return all
	}
	room := columns - columnGap*(n-1)
	wide := widest(func(c cell) int { return displayWidth(c.text()) })
	if columns == 0 || sum(wide) <= room {
		return wide
	}
	narrow, items := widest(cell.narrowest), widest(cell.unbrokenItems)
	switch {
	case sum(items) <= room:
		return distributeWidth(items, wide, room)
	case sum(narrow) <= room:
		return distributeWidth(narrow, items, room)
	}
	return nil
}

// distributeWidth returns widths that sum up to room if possible. Each lies
// between its least and its most; within these bounds they are as equal as
// possible.
func distributeWidth(least, most []int, room int) []int {
	widths := slices.Clone(least)
	for level := 1; level <= slices.Max(most); level++ {
		for i := range widths {
			if widths[i] < min(level, most[i]) && sum(widths) < room {
				widths[i]++
			}
		}
	}
	return widths
}

func sum(widths []int) (all int) {
	for _, w := range widths {
		all += w
	}
	return all
}

// A card is a list of names and values.
type card struct {
	rows         []cardRow
	maxCellLines int // as in textTable
}

type cardRow struct {
	name  string // "" if the value belongs to the name above
	value cell
}

func (c *card) add(name string, value cell) { c.rows = append(c.rows, cardRow{name, value}) }

// addNotes adds lines about what the card is about.
func (c *card) addNotes(notes []string) { c.addTexts("note", notes) }

// addTexts adds several values of one name.
func (c *card) addTexts(name string, values []string) {
	for _, value := range values {
		c.add(name, breakable(value))
		name = ""
	}
}

// minValueWidth is how much room a card has for values beside their names, or else
// they stand below these.
const minValueWidth = 8

// text returns the card in lines of at most that many columns. A value that does
// not fit beside its name stands below that. If columns is 0, each value is one
// line.
func (c *card) text(columns int) string {
	names := 0
	for _, row := range c.rows {
		names = max(names, displayWidth(row.name))
	}
	var out strings.Builder
	for _, row := range c.rows {
		indent := names + columnGap
		room := columns - indent
		if columns == 0 {
			room = displayWidth(row.value.text())
		} else if room < minValueWidth || row.value.narrowest() > room {
			indent = min(columnGap, max(columns-1, 0))
			room = columns - indent
			writeLines(&out, nonEmpty(wrap([]string{row.name}, columns)))
			row.name = ""
		}
		for i, line := range row.value.lines(room, c.maxCellLines) {
			name := ""
			if i == 0 {
				name = row.name
			}
			writeLines(&out, []string{strings.TrimRight(name+strings.Repeat(" ", indent-displayWidth(name))+line, " ")})
		}
	}
	return out.String()
}

func nonEmpty(lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return line == "" })
}
