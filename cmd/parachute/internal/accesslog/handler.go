package accesslog

import (
	"context"
	"log/slog"
	"sync"
)

// A handler hands on what a handler of slog writes, together with the service
// that it is about: the attribute of that name, outside of groups.
type handler struct {
	slog.Handler // writes to out
	out          *serviceWriter
	service      string // of the attributes that it was made with
	grouped      bool
}

// serviceWriter is where a handler writes, and all that were made of it.
type serviceWriter struct {
	buffer *buffer

	mu      sync.Mutex // guards what follows, and is held while a line is written
	service string     // that the line is about
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

// serviceOf returns the service that a names, or else the other.
func serviceOf(a slog.Attr, other string) string {
	if a.Key == "service" && a.Value.Kind() == slog.KindString {
		return a.Value.String()
	}
	return other
}
