package accesslog

import (
	"context"
	"log/slog"
	"sync"
)

// A handler is a handler of slog that also finds out which service a line is
// about: the attribute "service" outside of groups.
type handler struct {
	slog.Handler // writes to out
	out          *serviceWriter
	service      string // the service of WithAttrs, if any
	grouped      bool
}

// A serviceWriter is the output of a handler, and of the handlers that WithAttrs
// and WithGroup have derived from it.
type serviceWriter struct {
	buffer *buffer

	mu      sync.Mutex // held while a line is written; guards service
	service string     // the service that the line is about
}

func (l *serviceWriter) Write(line []byte) (int, error) {
	l.buffer.add(fromProgram, l.service, line)
	return len(line), nil
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	service := h.service
	if !h.grouped {
		r.Attrs(func(a slog.Attr) bool {
			service = serviceOf(a, service)
			return true
		})
	}
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.service = service
	return h.Handler.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.Handler = h.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		if !h.grouped {
			with.service = serviceOf(a, with.service)
		}
	}
	return &with
}

func (h *handler) WithGroup(name string) slog.Handler {
	with := *h
	with.Handler = h.Handler.WithGroup(name)
	with.grouped = h.grouped || name != ""
	return &with
}

// serviceOf returns the service that a names, or other if it names none.
func serviceOf(a slog.Attr, other string) string {
	if a.Key == "service" && a.Value.Kind() == slog.KindString {
		return a.Value.String()
	}
	return other
}
