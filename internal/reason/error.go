package reason

import "errors"

// An Error is an error that tells what it means for the request that it ended.
type Error interface {
	error
	Why() Reason
}

// New returns an error with a text, for which Of returns r.
func New(r Reason, text string) error { return &failure{r, text} }

type failure struct {
	why  Reason
	text string
}

func (f *failure) Error() string { return f.text }
func (f *failure) Why() Reason   { return f.why }

// Of returns the Reason that err tells: its own or, if it is not an Error, that of
// the first one that it wraps. It returns None if it wraps none.
func Of(err error) Reason {
	if e, ok := errors.AsType[Error](err); ok {
		return e.Why()
	}
	return None
}
