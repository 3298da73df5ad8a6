// Package verbose formats errors that tell more with %+v.
package verbose

import (
	"fmt"
	"io"
	"slices"
	"strings"
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

// As returns an error that wraps sentinel, and reads as text instead.
func As(sentinel error, text string) error { return &instead{sentinel, text} }

type instead struct {
	sentinel error
	text     string
}

func (e *instead) Error() string { return e.text }
func (e *instead) Unwrap() error { return e.sentinel }

// Join returns an error that wraps all of errs but those that are nil, or nil if there
// are none. It reads as they do, with semicolons between them; for %+v, each is in that
// form and begins a line. If there is one, it is that.
func Join(errs ...error) error {
	errs = slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return joined(errs)
}

type joined []error

func (j joined) Error() string   { return j.text("%v", "; ") }
func (j joined) Unwrap() []error { return j }

func (j joined) text(format, separator string) string {
	var all []string
	for _, err := range j {
		all = append(all, fmt.Sprintf(format, err))
	}
	return strings.Join(all, separator)
}

func (j joined) Format(s fmt.State, verb rune) { Format(s, verb, j, j.text("%+v", "\n")) }
