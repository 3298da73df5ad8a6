// Package verbose formats errors that tell more with %+v.
package verbose

import (
	"fmt"
	"io"
)

// Format formats err as its Error method does, and as full for %+v. It is for
// err's method Format.
func Format(s fmt.State, verb rune, err error, full string) {
	if verb == 'v' && s.Flag('+') {
		io.WriteString(s, full)
		return
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), err.Error())
}

// A Wrapped is an error with what was being done in front of it. It wraps Err.
type Wrapped struct {
	Doing string // such as "deploy web"
	Err   error
	After string // a last line for %+v; empty: there is none
}

func (e *Wrapped) Error() string { return e.Doing + ": " + e.Err.Error() }
func (e *Wrapped) Unwrap() error { return e.Err }

// Format writes e as Error does. For %+v it writes Err in that form, too, and After
// on a line of its own.
func (e *Wrapped) Format(s fmt.State, verb rune) {
	full := fmt.Sprintf("%s: %+v", e.Doing, e.Err)
	if e.After != "" {
		full += "\n  " + e.After
	}
	Format(s, verb, e, full)
}
