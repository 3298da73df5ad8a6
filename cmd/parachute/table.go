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
	tallest int
}

// A cell is text that may be broken into lines between its pieces. What
// separates a piece from the next stands at its end.
type cell struct {
	pieces []string
	each   int // how many pieces an item has, so that where some are left out it tells how many; 0: it is no list
}

// word is a cell that is not broken.
func word(s string) cell { return cell{pieces: []string{inLine(s)}} }

// words is a cell that is broken between words.
func words(s string) cell { return cell{pieces: strings.SplitAfter(inLine(s), " ")} }

// listed is a cell that is broken between items.
func listed(items []string, separator string) cell {
	c := cell{each: 1}
	for i, item := range items {
		if i < len(items)-1 {
			item += separator
		}
		c.pieces = append(c.pieces, inLine(item))
	}
	return c
}

// inLine returns s as it can stand in a line.
func inLine(s string) string { return strings.ReplaceAll(printable(s), "\n", " ") }

// text returns the table so that no line has more than so many columns: cells
// are broken into lines, and cut off where that is not enough. If columns is 0,
// each row is one line.
func (t *table) text(columns int) string {
	rows := t.rows
	if t.header != nil {
		header := make([]cell, len(t.header))
		for i, name := range t.header {
			header[i] = words(name)
		}
		rows = append([][]cell{header}, rows...)
	}
	widths := widthsOf(rows, columns)
	var out strings.Builder
	for _, row := range rows {
		for _, line := range linesOf(row, widths, t.tallest) {
			if columns > 0 {
				line = clip(line, columns)
			}
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

const gap = 2 // blanks between columns

// linesOf returns the lines of a row.
func linesOf(row []cell, widths []int, tallest int) []string {
	var lines []string
	at := 0
	for i, c := range row {
		for j, text := range c.lines(widths[i], tallest) {
			if j == len(lines) {
				lines = append(lines, "")
			}
			lines[j] += strings.Repeat(" ", at-width(lines[j])) + text
		}
		at += widths[i] + gap
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
		if line != "" && width(line)+width(strings.TrimRight(piece, " ")) > room {
			lines, ends = append(lines, line), append(ends, i)
			line = ""
		}
		line += piece
	}
	lines, ends = append(lines, line), append(ends, len(c.pieces))
	if tallest > 1 && len(lines) > tallest {
		lines = lines[:tallest]
		last := &lines[tallest-1]
		if *last = strings.TrimRight(*last, " ") + ellipsis; c.each > 0 {
			left := len(c.pieces) - ends[tallest-2]
			*last = fmt.Sprintf("+%d more", (left+c.each-1)/c.each)
		}
	}
	for i := range lines {
		lines[i] = clip(strings.TrimRight(lines[i], " "), room)
	}
	return lines
}

// widthsOf returns how wide the columns of rows are, if they may have so many
// in all; 0: as many as they like.
func widthsOf(rows [][]cell, columns int) []int {
	var narrow, wide []int // with and without breaks
	for _, row := range rows {
		for i, c := range row {
			if i == len(wide) {
				narrow, wide = append(narrow, 1), append(wide, 1)
			}
			wide[i] = max(wide[i], width(strings.Join(c.pieces, "")))
			for _, piece := range c.pieces {
				narrow[i] = max(narrow[i], width(strings.TrimRight(piece, " ")))
			}
		}
	}
	room := columns - gap*(len(wide)-1)
	switch {
	case columns == 0 || sum(wide) <= room:
		return wide
	case sum(narrow) <= room:
		return between(narrow, wide, room)
	}
	return between(slices.Repeat([]int{1}, len(narrow)), narrow, room)
}

// between returns widths that fill room: none below its least, and none above
// its most, and apart from that as like each other as can be.
func between(least, most []int, room int) []int {
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

// clip returns s, without its end where it is wider than that.
func clip(s string, room int) string {
	if width(s) <= room {
		return s
	}
	return string([]rune(s)[:room-1]) + ellipsis
}

func width(s string) int { return utf8.RuneCountInString(s) }
