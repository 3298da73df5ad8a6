package issuer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// maxRenewBefore is how long before its end a certificate is renewed at most, if the
	// authority suggests nothing.
	maxRenewBefore = 30 * 24 * time.Hour

	// firstQuestion is how long after a certificate has come, or was found in the cache,
	// the authority is asked when to renew it; up to twice as long, so that the names of
	// a process that starts do not ask at once.
	firstQuestion = 30 * time.Second

	// questionPause is the pause between two such questions, if the authority does not
	// say another one (RFC 9773, section 4.3.2), which may be from minQuestionPause to
	// maxQuestionPause.
	questionPause    = 6 * time.Hour
	minQuestionPause = time.Minute
	maxQuestionPause = 24 * time.Hour
)

// A plan is when a certificate is renewed.
type plan struct {
	due      time.Time // when it is to be renewed; zero: there is none
	wake     time.Time // when that begins, for not all of the same age are renewed at once
	question time.Time // when the authority is asked
	window   window    // that it has suggested
}

// A window is a time in which a certificate is to be renewed.
type window struct{ Start, End time.Time }

// planFor returns the plan for a certificate that the authority has suggested nothing
// for, from now on.
func planFor(leaf *x509.Certificate, now time.Time, pause time.Duration) plan {
	before := min(leaf.NotAfter.Sub(leaf.NotBefore)/3, maxRenewBefore)
	due := leaf.NotAfter.Add(-before)
	return plan{due: due, wake: due.Add(spread(min(before/10, time.Hour))), question: now.Add(pause)}
}

// spread returns a random part of d.
func spread(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// next returns when there is something to do.
func (p plan) next() time.Time {
	if p.question.Before(p.wake) {
		return p.question
	}
	return p.wake
}

// A suggestion is what an authority says about the renewal of a certificate (RFC 9773,
// section 4.2).
type suggestion struct {
	SuggestedWindow window

	pause time.Duration // until it is asked again
}

// obey returns the plan that the suggestion makes of p, at the time now. The moment is a
// random one of the window, and stays the same while the window does. A window that makes
// no sense, or begins when the certificate has ended, is passed over.
func (s *suggestion) obey(p plan, leaf *x509.Certificate, now time.Time) plan {
	w := s.SuggestedWindow
	p.question = now.Add(s.pause)
	if w.End.After(leaf.NotAfter) {
		w.End = leaf.NotAfter
	}
	if w.End.After(w.Start) && w != p.window {
		p.due = w.Start.Add(spread(w.End.Sub(w.Start)))
		p.wake, p.window = p.due, w
	}
	return p
}

// renewals knows where an authority is asked when to renew.
type renewals struct {
	mu      sync.Mutex // guards what follows
	isAsked bool       // the directory was read
	url     string     // "": the authority suggests nothing
}

// suggest asks the authority when to renew cert. It returns nil if the authority says
// nothing about that.
func (i *Issuer) suggest(ctx context.Context, cert *tls.Certificate) (*suggestion, error) {
	id := certificateID(cert.Leaf)
	base, err := i.renewalURL(ctx)
	if err != nil || base == "" || id == "" {
		return nil, err
	}
	var s suggestion
	header, err := i.getJSON(ctx, strings.TrimSuffix(base, "/")+"/"+id, &s)
	if err != nil {
		return nil, err
	}
	s.pause = questionPause
	if after, ok := parseRetryAfter(header.Get("Retry-After")); ok {
		s.pause = min(max(after, minQuestionPause), maxQuestionPause)
	}
	return &s, nil
}

// renewalURL returns where the authority has what it suggests, or "".
func (i *Issuer) renewalURL(ctx context.Context) (string, error) {
	r := &i.renewals
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isAsked {
		return r.url, nil
	}
	var directory struct{ RenewalInfo string }
	if _, err := i.getJSON(ctx, i.o.Directory, &directory); err != nil {
		return "", err
	}
	r.isAsked, r.url = true, directory.RenewalInfo
	return r.url, nil
}

// getJSON reads what is at url into v. Such resources are read without a signature.
func (i *Issuer) getJSON(ctx context.Context, url string, v any) (http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", i.o.UserAgent)
	resp, err := (&http.Client{Transport: i.transport}).Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: answered %s", url, resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	return resp.Header, errors.Join(err, json.Unmarshal(body, v))
}

// certificateID returns what a certificate is called there (RFC 9773, section 4.1), or ""
// if it has no such name.
func certificateID(leaf *x509.Certificate) string {
	var b cryptobyte.Builder
	b.AddASN1BigInt(leaf.SerialNumber)
	der, err := b.Bytes()
	var serial cryptobyte.String
	if s := cryptobyte.String(der); err != nil || !s.ReadASN1(&serial, asn1.INTEGER) || len(leaf.AuthorityKeyId) == 0 {
		return ""
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode(leaf.AuthorityKeyId) + "." + encode(serial)
}
