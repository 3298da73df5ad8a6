package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A table is text in columns.
type table struct {
	header []string // nil if there is none
	rows   [][]cell

	// maxCellLines is how many lines a cell may have, at least 2. If it is 0,
	// there is no limit.
	maxCellLines int
}

// A cell is text that may be broken into lines between its pieces. Each piece
// ends with what separates it from the next, such as a blank.
type cell struct {
	pieces        []string
	piecesPerItem int // of a list: how many pieces make an item, for "+3 more"; 0 if the cell is no list
}

// unbreakable returns a cell that is never broken.
func unbreakable(s string) cell { return cell{pieces: []string{singleLine(s)}} }

// breakable returns a cell that may be broken between words.
func breakable(s string) cell { return cell{pieces: strings.SplitAfter(singleLine(s), " ")} }

// listCell returns a cell that may be broken between items.
func listCell(items []string, separator string) cell {
	c := cell{piecesPerItem: 1}
	for i, item := range items {
		if i < len(items)-1 {
			item += separator
		}
		c.pieces = append(c.pieces, singleLine(item))
	}
	return c
}

// singleLine returns s without line breaks and unprintable characters.
func singleLine(s string) string { return strings.ReplaceAll(printable(s), "\n", " ") }

// text returns the table in lines of at most that many columns. Cells that are
// too wide are broken into lines, and cut off if that is not enough. If columns
// is 0, each row is one line.
func (t *table) text(columns int) string {
	rows := t.rows
	if t.header != nil {
		header := make([]cell, len(t.header))
		for i, name := range t.header {
			header[i] = breakable(name)
		}
		rows = append([][]cell{header}, rows...)
	}
	widths := columnWidths(rows, columns)
	var out strings.Builder
	for _, row := range rows {
		for _, line := range rowLines(row, widths, t.maxCellLines) {
			if columns > 0 {
				line = truncate(line, columns)
			}
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

const columnGap = 2 // blanks between columns

// rowLines returns the lines of a row.
func rowLines(row []cell, widths []int, maxLines int) []string {
	var lines []string
	at := 0
	for i, c := range row {
		for j, text := range c.lines(widths[i], maxLines) {
			if j == len(lines) {
				lines = append(lines, "")
			}
			lines[j] += strings.Repeat(" ", at-displayWidth(lines[j])) + text
		}
		at += widths[i] + columnGap
	}
	return lines
}

// lines returns the cell's text in at most maxLines lines, each at most room
// wide; if maxLines is 0, in any number of lines.
func (c cell) lines(room, maxLines int) []string {
	var lines []string
	var ends []int // how many pieces are in the lines so far
	line := ""
	for i, piece := range c.pieces {
		if line != "" && displayWidth(line)+displayWidth(strings.TrimRight(piece, " ")) > room {
			lines, ends = append(lines, line), append(ends, i)
			line = ""
		}
		line += piece
	}
	lines, ends = append(lines, line), append(ends, len(c.pieces))
	if maxLines > 1 && len(lines) > maxLines {
		lines = lines[:maxLines]
		last := &lines[maxLines-1]
		if *last = strings.TrimRight(*last, " ") + ellipsis; c.piecesPerItem > 0 {
			left := len(c.pieces) - ends[maxLines-2]
			*last = fmt.Sprintf("+%d more", (left+c.piecesPerItem-1)/c.piecesPerItem)
		}
	}
	for i := range lines {
		lines[i] = truncate(strings.TrimRight(lines[i], " "), room)
	}
	return lines
}

// columnWidths returns the widths of the columns of rows, so that a line has at
// most that many columns in all; if columns is 0, there is no limit.
func columnWidths(rows [][]cell, columns int) []int {
	var narrow, wide []int // widths with all possible breaks, and with none
	for _, row := range rows {
		for i, c := range row {
			if i == len(wide) {
				narrow, wide = append(narrow, 1), append(wide, 1)
			}
			wide[i] = max(wide[i], displayWidth(strings.Join(c.pieces, "")))
			for _, piece := range c.pieces {
				narrow[i] = max(narrow[i], displayWidth(strings.TrimRight(piece, " ")))
			}
		}
	}
	room := columns - columnGap*(len(wide)-1)
	switch {
	case columns == 0 || sum(wide) <= room:
		return wide
	case sum(narrow) <= room:
		return distributeWidth(narrow, wide, room)
	}
	return distributeWidth(slices.Repeat([]int{1}, len(narrow)), narrow, room)
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

const ellipsis = "…"

// truncate returns s, shortened to room characters if it is longer.
func truncate(s string, room int) string {
	if displayWidth(s) <= room {
		return s
	}
	return string([]rune(s)[:room-1]) + ellipsis
}

func displayWidth(s string) int { return utf8.RuneCountInString(s) }
