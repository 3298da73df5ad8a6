package healthcheck

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/hostname"
)

// Settings say how to check. Path and Status are of a GET, GRPCService is of a call.
// What is zero has a default.
type Settings struct {
	Path        string
	Port        int // 0: the target's own
	Host        string
	Interval    time.Duration
	Timeout     time.Duration
	Headers     []string // "NAME: VALUE" each
	Status      string
	Rise, Fall  int
	GRPC        bool
	GRPCService string
}

// Normalize returns h with its defaults. An error says what would be right.
func (h Settings) Normalize() (Settings, error) {
	switch {
	case h.GRPC && (h.Path != "" || h.Status != ""):
		return h, fmt.Errorf("health check path %q and status %q: a gRPC health check has neither", h.Path, h.Status)
	case !h.GRPC && h.GRPCService != "":
		return h, fmt.Errorf("health check of the gRPC service %q: ask for a gRPC health check, too", h.GRPCService)
	case !utf8.ValidString(h.GRPCService) || len(h.GRPCService) > 1024:
		return h, fmt.Errorf("health check of the gRPC service %q: want at most 1024 bytes of UTF-8, such as web.v1.Web", h.GRPCService)
	case !h.GRPC:
		h.Path = cmp.Or(h.Path, "/up")
		h.Status = cmp.Or(h.Status, "200-299")
	}
	h.Interval = cmp.Or(h.Interval, time.Second)
	h.Timeout = cmp.Or(h.Timeout, 5*time.Second)
	h.Rise, h.Fall = cmp.Or(h.Rise, 1), cmp.Or(h.Fall, 1)
	for _, header := range h.Headers {
		if name, value, ok := strings.Cut(header, ":"); !ok || !field.CanSend(name, value) {
			return h, fmt.Errorf("health check header %q: want NAME: VALUE, such as X-Probe: yes", header)
		}
	}
	if _, _, ok := ParseStatus(h.Status); !ok && !h.GRPC {
		return h, fmt.Errorf("health check status %q: want a status such as 204, or a range such as 200-399", h.Status)
	}
	switch {
	case !h.GRPC && h.Path[0] != '/':
		return h, fmt.Errorf("health check path %q: want one that begins with '/', such as /up", h.Path)
	case !hostname.IsRequestTarget(h.Path):
		return h, fmt.Errorf("health check path %q: write a space, a '#' and what is not ASCII as %%xx, as in /up%%20now", h.Path)
	case h.Port < 0 || h.Port > 65535:
		return h, fmt.Errorf("health check port %d: want 1 to 65535, or 0 for the target's own", h.Port)
	case !hostname.IsHostHeader(h.Host):
		return h, fmt.Errorf("health check host %q: want a host name, such as app1.example.com", h.Host)
	case h.Interval < 0 || h.Timeout < 0:
		return h, fmt.Errorf("health check interval %v and timeout %v: want more than 0", h.Interval, h.Timeout)
	case h.Rise < 0 || h.Fall < 0:
		return h, fmt.Errorf("health check rise %d and fall %d: want at least 1", h.Rise, h.Fall)
	}
	return h, nil
}

// Check returns the check that h says, which must be normalized. It is sent with the
// Host authority, unless h has one, and with header, to which Check adds h's and which
// nobody may change afterwards.
func (h Settings) Check(authority string, header http.Header) *Check {
	for _, line := range h.Headers {
		name, value, _ := strings.Cut(line, ":")
		header.Add(name, strings.TrimSpace(value))
	}
	host := cmp.Or(h.Host, authority)
	if h.GRPC {
		return Call(host, h.GRPCService, header, h.Timeout)
	}
	first, last, _ := ParseStatus(h.Status)
	return Get(host, h.Path, header, first, last, h.Timeout)
}
