package main

import (
	"fmt"
	"slices"
	"strings"
)

// A cell is text in a table. It is a list of items, which may be broken into
// lines between the pieces of its items.
type cell struct {
	whole     string // the only item, of one piece, as in most of the thousands of cells of a table
	*itemList        // nil: there is only that

	isProse bool // the items are the words of a text
}

// An itemList is what is in a cell of several items or pieces.
type itemList struct {
	items     []item
	separator string // between items, such as a comma
}

// An item is a part of a cell.
type item struct {
	pieces []string // each but the last ends with what separates it from the next, such as a blank

	// kind is what the item is counted as where it is left out, such as
	// "healthy". If it is empty, the item is never left out.
	kind string
}

// unbreakable returns a cell of a single item.
func unbreakable(s string) cell { return cell{whole: singleLine(s)} }

// breakable returns a cell that may be broken between words.
func breakable(s string) cell {
	c := unbreakable(s)
	if strings.Contains(s, " ") {
		c = listCell(strings.SplitAfter(s, " "), "")
	}
	c.isProse = true
	return c
}

// listCell returns a cell that may be broken between items, none of which is
// ever left out.
func listCell(items []string, separator string) cell {
	if len(items) == 1 {
		return unbreakable(items[0])
	}
	c := cell{itemList: &itemList{make([]item, len(items)), separator}}
	pieces := make([]string, len(items))
	for i, text := range items {
		pieces[i] = singleLine(text)
		c.items[i].pieces = pieces[i : i+1 : i+1]
	}
	return c
}

// singleLine returns s without line breaks and unprintable characters.
func singleLine(s string) string {
	if isPlain(s) {
		return s
	}
	return strings.ReplaceAll(printable(s), "\n", " ")
}

// isPlain reports whether s is of printable ASCII alone, so that each byte takes one column.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// pieces returns the parts of c between which lines may be broken.
func (c cell) pieces() (all []string) {
	if c.itemList == nil {
		return []string{c.whole}
	}
	for i, it := range c.items {
		all = append(all, it.pieces...)
		if i < len(c.items)-1 && len(it.pieces) > 0 {
			all[len(all)-1] += c.separator
		}
	}
	return all
}

// text returns all of c in one line.
func (c cell) text() string {
	if c.itemList == nil {
		return c.whole
	}
	return strings.Join(c.pieces(), "")
}

// minProseWidth is how wide a cell of prose is at least, if it has words that
// are as wide or wider, such as URLs. Wider ones may be broken.
const minProseWidth = 20

// narrowest returns how wide c must be at least so that no piece has to be
// broken.
func (c cell) narrowest() int { return c.widest(c.pieces()) }

// unbrokenItems returns how wide c must be at least so that no item has to be
// broken.
func (c cell) unbrokenItems() int {
	if c.itemList == nil {
		return c.widest([]string{c.whole})
	}
	var all []string
	for _, it := range c.items {
		all = append(all, strings.Join(it.pieces, "")+c.separator)
	}
	return c.widest(all)
}

// widest returns the width of the widest of some parts of c.
func (c cell) widest(parts []string) (columns int) {
	for _, part := range parts {
		columns = max(columns, displayWidth(strings.TrimRight(part, " ")))
	}
	if c.isProse {
		columns = min(columns, minProseWidth)
	}
	return columns
}

// lines returns c in lines, each at most room wide. If there would be more than
// most lines, a text ends with an ellipsis, and items that have a kind are counted
// in place of being shown. If most is 0, there is no limit.
func (c cell) lines(room, most int) []string {
	if text := strings.TrimRight(c.text(), " "); displayWidth(text) <= room {
		return []string{text}
	}
	all := wrap(c.pieces(), room)
	switch {
	case most == 0 || len(all) <= most || c.itemList == nil && !c.isProse:
		return all
	case c.isProse:
		all = all[:most]
		all[most-1] = truncate(all[most-1]+ellipsis, room)
		return all
	}
	required := slices.IndexFunc(c.items, func(it item) bool { return it.kind != "" })
	if required < 0 {
		return all
	}
	// No more items than fit could be shown, and an item takes two columns at least.
	for n := min(len(c.items)-1, required+most*room/2); ; n-- {
		shown := cell{itemList: &itemList{slices.Concat(c.items[:n], countItems(c.items[n:])), c.separator}}
		if all = wrap(shown.pieces(), room); len(all) <= most || n <= required {
			return all
		}
	}
}

// countItems returns items that say how many of each kind there are.
func countItems(left []item) (counts []item) {
	var kinds []string
	count := make(map[string]int)
	for _, it := range left {
		if count[it.kind]++; count[it.kind] == 1 {
			kinds = append(kinds, it.kind)
		}
	}
	for _, kind := range kinds {
		counts = append(counts, item{pieces: []string{fmt.Sprintf("+%d %s", count[kind], kind)}})
	}
	return counts
}

// wrap puts pieces into lines that are at most room wide. It breaks a piece only
// if that is wider.
func wrap(pieces []string, room int) (lines []string) {
	room = max(room, 1)
	line := ""
	flush := func() {
		lines, line = append(lines, strings.TrimRight(line, " ")), ""
	}
	for _, piece := range pieces {
		if line != "" && displayWidth(line)+displayWidth(strings.TrimRight(piece, " ")) > room {
			flush()
		}
		line += piece
		for displayWidth(strings.TrimRight(line, " ")) > room {
			before, after := cutWidth(line, room)
			if before == "" { // a wide character in a single column
				before, after = "?", string([]rune(line)[1:])
			}
			line = before
			flush()
			line = after
		}
	}
	flush()
	return lines
}
