package main

import (
	"unicode"

	"golang.org/x/text/width"
)

// displayWidth returns how many columns of a terminal s takes.
func displayWidth(s string) (columns int) {
	if isPlain(s) {
		return len(s)
	}
	for _, r := range s {
		columns += runeWidth(r)
	}
	return columns
}

// runeWidth returns how many columns r takes: 2 for a wide character, 0 for a
// mark that goes on top of the character before it.
func runeWidth(r rune) int {
	switch {
	case r < 0x300: // most of all text
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cutWidth cuts s in two: the first part is the longest that takes at most that
// many columns.
func cutWidth(s string, columns int) (before, after string) {
	for i, r := range s {
		if columns -= runeWidth(r); columns < 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// cutFirst cuts the first character off s, with the marks on top of it.
func cutFirst(s string) (first, after string) {
	for i, r := range s {
		if i > 0 && runeWidth(r) > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

const ellipsis = "…"

// truncate returns s, shortened to that many columns if it takes more.
func truncate(s string, columns int) string {
	if displayWidth(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	before, _ := cutWidth(s, columns-1)
	return before + ellipsis
}
