package main

import (
	"fmt"
	"io"
)

// Run is run, for the tests that see the program from outside.
var Run = run

// Escaped is a line of the log as it is printed.
func Escaped(line []byte) []byte { return escapeUnprintable(line) }

// DisplayOf tells what is known of w.
func DisplayOf(getenv func(string) string, w io.Writer) string {
	p := &program{environ: &environ{getenv: getenv}}
	d := p.displayOf(w)
	switch {
	case d == display{}:
		return "none"
	case d.colour:
		return fmt.Sprintf("%dx%d in colour", d.columns, d.rows)
	}
	return fmt.Sprintf("%dx%d", d.columns, d.rows)
}
