package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A table is text in columns, two blanks apart.
type table struct {
	header []string // nil: there is none
	rows   [][]cell

	// tallest is how many lines a cell may have, at least 2. If 0, as many as
	// it takes.
	maxCellLines int
}

// A cell is text that may be broken into lines between its pieces. What
// separates a piece from the next stands at its end.
type cell struct {
	pieces        []string
	piecesPerItem int // how many pieces an item has, so that where some are left out it tells how many; 0: it is no list
}

// unbreakable is a cell that is not broken.
func unbreakable(s string) cell { return cell{pieces: []string{singleLine(s)}} }

// breakable is a cell that is broken between words.
func breakable(s string) cell { return cell{pieces: strings.SplitAfter(singleLine(s), " ")} }

// listCell is a cell that is broken between items.
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

// singleLine returns s as it can stand in a line.
func singleLine(s string) string { return strings.ReplaceAll(printable(s), "\n", " ") }

// text returns the table so that no line has more than so many columns: cells
// are broken into lines, and cut off where that is not enough. If columns is 0,
// each row is one line.
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
func rowLines(row []cell, widths []int, tallest int) []string {
	var lines []string
	at := 0
	for i, c := range row {
		for j, text := range c.lines(widths[i], tallest) {
			if j == len(lines) {
				lines = append(lines, "")
			}
			lines[j] += strings.Repeat(" ", at-displayWidth(lines[j])) + text
		}
		at += widths[i] + columnGap
	}
	return lines
}

// lines returns the cell's text in lines of a width, but not more of them than
// tallest, if that is not 0.
func (c cell) lines(room, tallest int) []string {
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
	if tallest > 1 && len(lines) > tallest {
		lines = lines[:tallest]
		last := &lines[tallest-1]
		if *last = strings.TrimRight(*last, " ") + ellipsis; c.piecesPerItem > 0 {
			left := len(c.pieces) - ends[tallest-2]
			*last = fmt.Sprintf("+%d more", (left+c.piecesPerItem-1)/c.piecesPerItem)
		}
	}
	for i := range lines {
		lines[i] = truncate(strings.TrimRight(lines[i], " "), room)
	}
	return lines
}

// columnWidths returns how wide the columns of rows are, if they may have so many
// in all; 0: as many as they like.
func columnWidths(rows [][]cell, columns int) []int {
	var narrow, wide []int // with and without breaks
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

// distributeWidth returns widths that fill room: none below its least, and none above
// its most, and apart from that as like each other as can be.
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

// truncate returns s, without its end where it is wider than that.
func truncate(s string, room int) string {
	if displayWidth(s) <= room {
		return s
	}
	return string([]rune(s)[:room-1]) + ellipsis
}

func displayWidth(s string) int { return utf8.RuneCountInString(s) }
