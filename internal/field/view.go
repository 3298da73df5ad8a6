package field

import (
	"iter"
	"net/http"
)

// A View is a header for others to read. It gives away nothing but strings and
// copies: whoever is handed one cannot change the header, and cannot keep what
// its owner will change. The zero View has no fields.
//
// A View is to be read only while the call lasts that it was handed to. Then
// the header is its owner's again.
type View struct{ h http.Header }

// ViewOf returns a View of h.
func ViewOf(h http.Header) View { return View{h} }

// Get returns the first value of the field with the given canonical name, ""
// if there is none.
func (v View) Get(name string) string {
	if values := v.h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// HasToken reports whether the field with the given canonical name has token as
// an element of its lists.
func (v View) HasToken(name, token string) bool { return HasToken(v.h[name], token) }

// All yields each value of each field, those of one field in their order.
func (v View) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for name, values := range v.h {
			for _, value := range values {
				if !yield(name, value) {
					return
				}
			}
		}
	}
}

// Clone returns a header of the caller's own, which is never nil.
func (v View) Clone() http.Header {
	if v.h == nil {
		return make(http.Header)
	}
	return v.h.Clone()
}
