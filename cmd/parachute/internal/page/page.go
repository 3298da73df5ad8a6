// Package page serves a page to look at: what the services of a proxy are, how they
// are, and what has happened. Nothing can be changed there.
package page

import (
	"bufio"
	"context"
	"embed"
	"fmt"
	"html/template"
	"iter"
	"maps"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/hostname"
)

// A Config says what a Page shows, and to whom.
type Config struct {
	Recorder     *Recorder
	Services     func() []parachute.Status
	Certificates func() []parachute.Certificate

	// Command returns the command that deploys d. If nil, none is shown.
	Command func(d parachute.Deployment) string

	// History is the Proxy's. If nil, none is shown.
	History func(service string) ([]parachute.Past, error)

	// Logs calls write with the last lines of the log about a service.
	Logs func(ctx context.Context, service string, lines int, write func(lines []byte) error) error

	// Hosts are the names, beside those of the loopback interface, that a request may
	// have in its Host field: a page of another site could otherwise read this one
	// by a name of its own that it lets point here.
	Hosts []string

	// Allows reports whether a request has a password. If nil, nobody needs one; then
	// nothing is shown that an app or a client has said, for every user of the
	// machine can read it.
	Allows func(ctx context.Context, h http.Header) (bool, error)

	Version string
}

//go:embed page.html style.css script.js icon.svg
var files embed.FS

// A Page serves the page. It must be closed.
type Page struct {
	config Config
	pages  *template.Template
	mux    *http.ServeMux
	live   chan struct{} // has an element for each client that is kept up to date
	ended  context.Context
	end    context.CancelFunc
}

// New returns a Page.
func New(c Config) *Page {
	p := &Page{config: c, live: make(chan struct{}, maxLive), mux: http.NewServeMux()}
	p.ended, p.end = context.WithCancel(context.Background())
	p.pages = template.Must(template.New("").Funcs(template.FuncMap{"rowdoc": document.withContent}).ParseFS(files, "page.html"))
	p.mux.HandleFunc("GET /{$}", p.serveOverview)
	p.mux.HandleFunc("GET /services/{service}", p.serveService)
	p.mux.HandleFunc("GET /services/{service}/log", p.serveLog)
	p.mux.HandleFunc("GET /events", p.serveEvents)
	p.mux.HandleFunc("GET /live", p.serveLive)
	for _, name := range []string{"style.css", "script.js", "icon.svg"} {
		p.mux.HandleFunc("GET /"+name, serveFile)
	}
	return p
}

// Close ends the requests of clients that are kept up to date.
func (p *Page) Close() { p.end() }

// detailed reports whether words of apps and clients may be shown.
func (p *Page) detailed() bool { return p.config.Allows != nil }

const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// ServeHTTP implements [http.Handler].
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if !p.isOwnHost(r.Host) {
		http.Error(w, "this page is not served under that name: use a loopback address, or run parachute with --page-host", http.StatusMisdirectedRequest)
		return
	}
	if r.URL.Path == "/up" { // for health checks, where it is deployed as a service
		h.Set("Content-Type", "text/plain")
		fmt.Fprintln(w, "ok")
		return
	}
	if p.config.Allows != nil {
		allowed, err := p.config.Allows(r.Context(), r.Header)
		if err != nil {
			http.Error(w, "too many passwords are being checked", http.StatusServiceUnavailable)
			return
		}
		if !allowed {
			h.Set("WWW-Authenticate", `Basic realm="parachute", charset="UTF-8"`)
			http.Error(w, "a password is needed", http.StatusUnauthorized)
			return
		}
	}
	p.mux.ServeHTTP(w, r)
}

// isOwnHost reports whether a Host field names this page.
func (p *Page) isOwnHost(host string) bool {
	name := hostname.Canonical(host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && a.Unmap().IsLoopback() {
		return true
	}
	for _, own := range p.config.Hosts {
		if strings.EqualFold(own, name) {
			return true
		}
	}
	return false
}

// A document is what the templates are given.
type document struct {
	Title, Version string
	Root           string // of links
	Live           string // where the parts of it that change come from
	Time           string
	Detailed       bool
	Content        any
}

// withContent returns d with another content.
func (d document) withContent(content any) document {
	d.Content = content
	return d
}

// document returns what all pages have. depth is how many folders deep its path is.
func (p *Page) document(r *http.Request, title string, depth int, live string, content any) document {
	root := rootOf(r, depth)
	return document{
		Title: title, Version: p.config.Version, Root: root, Live: root + live,
		Time: clock(time.Now()), Detailed: p.detailed(), Content: content,
	}
}

// rootOf returns the way from a page to the first: what was taken away in front of the
// path, if the proxy says so, and otherwise as many folders up.
func rootOf(r *http.Request, depth int) string {
	if prefix := r.Header.Get("X-Forwarded-Prefix"); isPrefix(prefix) {
		return prefix + "/"
	}
	if depth == 0 {
		return "./"
	}
	return strings.Repeat("../", depth)
}

func isPrefix(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/-._~", c) >= 0) {
			return false
		}
	}
	return strings.HasPrefix(s, "/") && path.Clean(s) == s && s != "/"
}

// write writes a page while it is made: the first bytes of a long one come at once.
func (p *Page) write(w http.ResponseWriter, name string, d document) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	out := bufio.NewWriterSize(w, 16<<10)
	if p.pages.ExecuteTemplate(out, name, d) == nil { // else the client has left
		out.Flush()
	}
}

func (p *Page) serveOverview(w http.ResponseWriter, r *http.Request) {
	p.write(w, "overview", p.document(r, "Services", 0, "live", p.overview(time.Now())))
}

func (p *Page) serveService(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("service")
	v, ok := p.service(name, time.Now())
	if !ok {
		http.Error(w, "there is no such service", http.StatusNotFound)
		return
	}
	p.write(w, "service", p.document(r, v.Name, 1, "live?"+query("service", name), v))
}

// Events is the page of what has happened.
type Events struct {
	Service, Kind string // what is shown; empty: all
	Kinds         []string
	Rows          []EventRow
}

func (p *Page) events(service, kind string, now time.Time) Events {
	e := Events{Service: service, Kind: kind}
	for _, k := range []parachute.EventKind{
		parachute.EventSwitched, parachute.EventFailed, parachute.EventTakenBack, parachute.EventUnhealthy, parachute.EventHealthy,
		parachute.EventPaused, parachute.EventStopped, parachute.EventResumed, parachute.EventSplit, parachute.EventRolloutEnded,
		parachute.EventDeploying, parachute.EventDraining, parachute.EventDrained, parachute.EventRemoved,
		parachute.EventCertificate, parachute.EventNoCertificate,
	} {
		e.Kinds = append(e.Kinds, string(k))
	}
	e.Rows = eventRows(p.config.Recorder.lastEvents(func(v Event) bool {
		return (service == "" || v.Service == service) && (kind == "" || string(v.Kind) == kind)
	}), now, p.detailed())
	return e
}

func (p *Page) serveEvents(w http.ResponseWriter, r *http.Request) {
	service, kind := r.FormValue("service"), r.FormValue("kind")
	live := "live?" + query("events", "1", "of", service, "kind", kind)
	p.write(w, "events", p.document(r, "Events", 0, live, p.events(service, kind, time.Now())))
}

func serveFile(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, files, path.Base(r.URL.Path))
}

func keysOf[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }

func query(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte('&')
		}
		fmt.Fprintf(&b, "%s=%s", pairs[i], template.URLQueryEscaper(pairs[i+1]))
	}
	return b.String()
}
