package forward

import (
	"fmt"
	"net/http"
)

// unwrapped returns the innermost ResponseWriter that w wraps and that has no Unwrap,
// or the outermost one of them that can flush.
func unwrapped(w http.ResponseWriter) (inner http.ResponseWriter, flushes bool) {
	for {
		switch t := w.(type) {
		case http.Flusher, interface{ FlushError() error }:
			return w, true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return w, false
		}
	}
}

// checkFlush returns an error if nothing can be flushed through w. An event stream
// would reach its client when it is over.
func checkFlush(w http.ResponseWriter) error {
	if inner, flushes := unwrapped(w); !flushes {
		return missingMethod(inner, "Flush", "event streams")
	}
	return nil
}

// missingMethod returns an error for a ResponseWriter, made by a program that wraps
// the server's, which lacks a method that something takes.
func missingMethod(w http.ResponseWriter, method, what string) error {
	return fmt.Errorf("the program's ResponseWriter %T has no %s, which %s take: give it a method Unwrap() http.ResponseWriter that returns the one it wraps: %w",
		w, method, what, http.ErrNotSupported)
}
