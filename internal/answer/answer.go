// Package answer changes the header of an answer on its way to the client, as a
// service has been told to.
package answer

import (
	"net/http"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/cookies"
)

// Rules say what is changed in the answers of a service. The zero Rules change
// nothing. They never change themselves, and any number of goroutines may use
// them.
type Rules struct {
	// ScopeCookies narrows cookies down to the prefix that was cut off from the
	// path of the request, see [cookies.Scope].
	ScopeCookies bool

	// WriterAffinity is for how long a client that has written something reads
	// from where it has written, where there are targets that only read. If it
	// is 0 or negative, it need not.
	WriterAffinity time.Duration

	// HSTS is the value of Strict-Transport-Security in answers over TLS. If
	// nil, it is the target's. All answers share it.
	HSTS []string

	// Headers changes all the rest, after that. If nil, nothing does.
	Headers func(http.Header)
}

// A Request is what Rules have to know of the request that is answered.
type Request struct {
	Method     string
	Target     string // as the client sent it
	Prefix     string // that was cut off from it; "": none
	IsSecure   bool   // it came over TLS
	HasReaders bool   // it might have gone to a target that only reads
}

// IsZero reports whether r changes nothing where there are no readers.
func (r *Rules) IsZero() bool { return !r.ScopeCookies && r.HSTS == nil && r.Headers == nil }

// Apply changes h, which is that of the answer to a request.
func (r *Rules) Apply(h http.Header, to *Request) {
	if r.ScopeCookies && to.Prefix != "" {
		cookies.Scope(h, to.Prefix, to.Target)
	}
	if to.HasReaders {
		r.noteWriter(h, to)
	}
	if r.HSTS != nil && to.IsSecure {
		h["Strict-Transport-Security"] = r.HSTS
	}
	if r.Headers != nil {
		r.Headers(h)
	}
}

// noteWriter has the client's requests go where it has written, for a while. The
// app may say that it has written nothing that anybody would miss.
func (r *Rules) noteWriter(h http.Header, to *Request) {
	optedOut := strings.EqualFold(h.Get("X-Writer-Affinity"), "false")
	delete(h, "X-Writer-Affinity")
	if !optedOut && r.WriterAffinity > 0 && to.Method != http.MethodGet && to.Method != http.MethodHead {
		cookies.NoteWriter(h, time.Now(), r.WriterAffinity, to.IsSecure)
	}
}
