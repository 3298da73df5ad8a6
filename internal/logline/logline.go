// Package logline gathers the attributes of a line in a log, without those that would
// say nothing.
package logline

import (
	"fmt"
	"log/slog"
	"reflect"
)

// Attrs are the attributes of a line, in the order in which they were added.
type Attrs []slog.Attr

// Add adds attrs, whatever they say.
func (a *Attrs) Add(attrs ...slog.Attr) { *a = append(*a, attrs...) }

// AddSaid adds those of attrs that say something: whose value is not 0, false or nil, no
// empty text, and no empty list. A value that is an error or a [fmt.Stringer] is text,
// also where it has a form of JSON; other values are logged as they are.
func (a *Attrs) AddSaid(attrs ...slog.Attr) {
	for _, attr := range attrs {
		if attr.Value.Kind() == slog.KindAny && !isEmpty(attr.Value) {
			switch v := attr.Value.Any().(type) {
			case error:
				attr.Value = slog.StringValue(v.Error())
			case fmt.Stringer:
				attr.Value = slog.StringValue(v.String())
			}
		}
		if !isEmpty(attr.Value) {
			*a = append(*a, attr)
		}
	}
}

func isEmpty(value slog.Value) bool {
	switch v := reflect.ValueOf(value.Any()); v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.String, reflect.Slice:
		return v.Len() == 0
	case reflect.Struct:
		return false // context.DeadlineExceeded has nothing in it, and says all
	default:
		return v.IsZero()
	}
}
