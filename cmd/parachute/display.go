package main

import (
	"cmp"
	"io"
	"os"

	"golang.org/x/term"
)

// A display describes the terminal that output goes to. The zero value stands
// for a file, a pipe, or a terminal that cannot move its cursor.
type display struct {
	columns, rows int  // 0 if it is no terminal
	colour        bool // whether to use colours (https://no-color.org)
}

// displayOf returns the display that w writes to.
func (p *program) displayOf(w io.Writer) display {
	file, ok := w.(*os.File)
	if !ok || p.environ.getenv("TERM") == "dumb" {
		return display{}
	}
	columns, rows, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return display{}
	}
	return display{
		// A terminal that does not know its size gets the size of a VT100.
		columns: cmp.Or(columns, 80),
		rows:    cmp.Or(rows, 24),
		colour:  p.environ.getenv("NO_COLOR") == "",
	}
}

// inColour returns text in the colour of a tone, if d has colours.
func (d display) inColour(text string, t tone) string {
	if colour := colours[t]; d.colour && colour != "" {
		return colour + text + resetColour
	}
	return text
}
