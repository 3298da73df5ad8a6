package main

import (
	"cmp"
	"io"
	"os"

	"golang.org/x/term"
)

// A display is what is known of where output goes. The zero value is none: a
// file, a pipe, or a terminal that cannot move its cursor.
type display struct {
	columns, rows int  // of the terminal; 0: it is none
	colour        bool // whether it is to be coloured (https://no-color.org)
}

// displayOf asks what w is.
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
		// One that does not say how large it is has the size that they all had.
		columns: cmp.Or(columns, 80),
		rows:    cmp.Or(rows, 24),
		colour:  p.environ.getenv("NO_COLOR") == "",
	}
}
