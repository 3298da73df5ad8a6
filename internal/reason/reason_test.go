package reason_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/reason"
)

// all are the Reasons, but for None.
func all() []reason.Reason {
	var all []reason.Reason
	for r := reason.None + 1; r <= reason.StreamClosed; r++ {
		all = append(all, r)
	}
	return all
}

func TestNoneSaysNothing(t *testing.T) {
	is := is.New(t)
	r := reason.None
	is.Equal(r.String(), "")
	is.Equal(r.Status(), 0)
	is.Equal(r.Part(), "")
	is.Equal(r.Fault(), reason.Nobody)
	is.True(!r.RetryAfter())
	is.True(!r.IsUnhealthy())
}

func TestStatusTellsWhoseFaultItIs(t *testing.T) {
	for _, r := range all() {
		t.Run(r.String(), func(t *testing.T) {
			is := is.New(t)
			is.True(r.String() != "") // it has a name
			switch class := r.Status() / 100; class {
			case 4:
				is.Equal(r.Fault(), reason.Client)
			case 5:
				is.Equal(r.Fault(), reason.Server)
			case 0:
				is.True(r == reason.Panic || r == reason.StreamClosed) // which have nobody to blame but us, or nobody
			default:
				is.Equal(r.Fault(), reason.Nobody)
			}
			is.Equal(r.RetryAfter(), r.Status() == 503)
			if r.IsUnhealthy() {
				is.Equal(r.Fault(), reason.Server) // a client must not be able to take a target out
			}
		})
	}
}

func TestClientThatLeftIsNeverTheServersError(t *testing.T) {
	is := is.New(t)
	for _, r := range []reason.Reason{reason.Gone, reason.Untaken} {
		is.Equal(r.Status(), 499)
		is.Equal(r.Fault(), reason.Client)
	}
}

// The names and parts are what scripts look for.
func TestNamesAndPartsStayAsTheyAre(t *testing.T) {
	is := is.New(t)
	names, parts := make(map[string]bool), make(map[string]bool)
	for _, r := range all() {
		names[r.String()] = true
		if r.Part() != "" {
			parts[r.Part()] = true
		}
	}
	is.Equal(names, set("challenge", "halted", "redirect", "request", "client", "client body", "unauthorized", "denied",
		"no service", "method", "too large", "misdirected", "gone", "target", "dial", "broken", "malformed", "failed",
		"stopped", "paused", "busy", "descriptors", "spool", "closed", "timeout", "deadline", "cut", "panic", "loop"))
	is.Equal(parts, set("no-route", "no-healthy-target", "stopped", "dial", "timeout", "too-large", "draining", "loop"))
}

func set(members ...string) map[string]bool {
	s := make(map[string]bool)
	for _, m := range members {
		s[m] = true
	}
	return s
}
