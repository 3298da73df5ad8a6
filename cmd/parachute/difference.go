package main

import (
	"fmt"
	"strings"

	"github.com/shahnk19/parachute"
)

// tellDifference prints what a deploy has made different, or would make, and warns of
// what it has let in.
func (p *program) tellDifference(service string, d parachute.Difference, quiet bool) {
	if p.printer == nil && !quiet {
		for _, told := range []struct {
			when  string
			flags []string
		}{{"no longer", d.NoLonger}, {"now", d.Now}} {
			if len(told.flags) > 0 {
				fmt.Fprintf(p.stdout, "%s  %s: %s\n", singleLine(service), told.when, singleLine(strings.Join(told.flags, ", ")))
			}
		}
	}
	for _, sentence := range d.Opened {
		p.warnf("%s", sentence)
	}
	if len(d.Opened) > 0 && !p.given["keep"] {
		fmt.Fprintln(p.stderr, "  a deploy keeps nothing that it does not name, unless it has --keep")
	}
}
