// Package answer edits an answer on its way to the client: its header, and the way
// its body is taken. It does so by rules that are made once for many answers.
package answer

import (
	"net/http"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/cookies"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/hostname"
)

// Rules say what is changed in the answers of a service. The zero Rules change
// nothing. They are not modified once they are in use, so any number of goroutines
// may use them.
type Rules struct {
	// ScopeCookies has the cookies of an answer apply only below the prefix
	// that was stripped from the path of the request; see [cookies.Scope].
	ScopeCookies bool

	// WriterAffinity is how long a client that has written something reads
	// from the targets that take writes, rather than from those that only
	// read. If 0 or negative, it may read from any at once.
	WriterAffinity time.Duration

	// HSTS is the value of Strict-Transport-Security in answers over TLS. If
	// nil, the target's own value is kept. All answers share the slice.
	HSTS []string

	// Release has answers say in X-Parachute-Release what Request.Release is,
	// whatever the target says there.
	Release bool

	// Headers, if not nil, changes the header after all other rules.
	Headers func(http.Header)

	// Take, if not nil, may put another Body in the place of the answer's, to
	// limit or to buffer it. method is the request's. full says why the body
	// is not buffered although it should be, and is no failure; an error is,
	// and keeps the answer from the client.
	Take func(res *http.Response, method string) (full, err error)
}

// A Request is what Rules depend on in the request that is answered.
type Request struct {
	Method     string
	Host       string // as the client sent it
	Prefix     string // that was stripped from the path; "": none
	IsSecure   bool   // it came over TLS
	Release    string // of what answers; "": it has none
	HasReaders bool   // the service has targets that only read
}

// IsZero reports whether r changes nothing in the answers of a service without
// targets that only read.
func (r *Rules) IsZero() bool {
	return !r.ScopeCookies && r.HSTS == nil && !r.Release && r.Headers == nil && r.Take == nil
}

// Apply changes h, the header of the answer to a request.
func (r *Rules) Apply(h http.Header, to *Request) {
	if r.ScopeCookies && to.Prefix != "" {
		cookies.Scope(h, to.Prefix, hostname.Canonical(to.Host))
	}
	if to.HasReaders {
		r.noteWriter(h, to)
	}
	if r.HSTS != nil && to.IsSecure {
		h["Strict-Transport-Security"] = r.HSTS
	}
	if r.Release {
		delete(h, "X-Parachute-Release")
		if to.Release != "" {
			h["X-Parachute-Release"] = []string{to.Release}
		}
	}
	if r.Headers != nil {
		r.Headers(h)
	}
}

// noteWriter adds a cookie to the answer of a request that writes, by which later
// requests of the client are recognized. The app may opt out, for a request that
// wrote nothing worth reading back.
func (r *Rules) noteWriter(h http.Header, to *Request) {
	optedOut := strings.EqualFold(h.Get("X-Writer-Affinity"), "false")
	delete(h, "X-Writer-Affinity")
	if !optedOut && r.WriterAffinity > 0 && to.Method != http.MethodGet && to.Method != http.MethodHead {
		cookies.SetWriter(h, time.Now(), r.WriterAffinity, to.IsSecure)
	}
}

// An Editor applies Rules to the answer to one request.
type Editor struct {
	Rules   *Rules
	Request Request

	// Forget, if not nil, takes back the cookies of the Proxy's own that the answer
	// would set. Edit calls it for an answer that many clients may be given: one with
	// status 304, or that is public or immutable (RFC 9111, section 5.2.2.9; RFC
	// 8246). All of them would be taken for one visitor.
	Forget func()

	// Full is set by Edit to what Rules.Take returned as such.
	Full error

	buffered time.Time // when Rules.Take had read the whole body; zero: it is passed on as it comes
}

// Edit changes res. An error is that of Rules.Take.
func (e *Editor) Edit(res *http.Response) (err error) {
	e.Rules.Apply(res.Header, &e.Request)
	if e.Forget != nil && isForMany(res) {
		e.Forget()
	}
	if e.Rules.Take == nil {
		return nil
	}
	body := res.Body
	e.Full, err = e.Rules.Take(res, e.Request.Method)
	if err == nil && e.Full == nil && res.Body != body && res.ContentLength > 0 { // what has no length is limited, at most
		e.buffered = time.Now()
	}
	return err
}

func isForMany(res *http.Response) bool {
	control := res.Header["Cache-Control"]
	return res.StatusCode == http.StatusNotModified || field.HasToken(control, "public") || field.HasToken(control, "immutable")
}

// SinceBuffered returns how long ago the whole body had been read from the target, or
// 0 if it is passed on as it comes.
func (e *Editor) SinceBuffered() time.Duration {
	if e.buffered.IsZero() {
		return 0
	}
	return time.Since(e.buffered)
}
