package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"
)

const (
	// maxLive is how many clients are kept up to date at once.
	maxLive = 32

	// liveInterval is how often it is seen whether something has changed.
	liveInterval = time.Second

	// liveTimeout bounds how long a client may take for what it is sent.
	liveTimeout = 10 * time.Second
)

// An update is what a client is sent: elements whose content is new, by their id, and
// of the lists among them, which elements they have, in order.
type update struct {
	Parts map[string]string   `json:"parts,omitempty"`
	Order map[string][]string `json:"order,omitempty"`
	Time  string              `json:"time"`
}

// A feed finds out what has changed since it was last asked.
type feed interface {
	// next adds to u what is new, and reports whether there is still anything to
	// look at.
	next(u *update, now time.Time) bool
}

// serveLive sends the parts of a page that have changed, as server-sent events, until
// the client leaves.
func (p *Page) serveLive(w http.ResponseWriter, r *http.Request) {
	select {
	case p.live <- struct{}{}:
		defer func() { <-p.live }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	f := p.feedOf(r)
	rc := http.NewResponseController(w)
	ticker := time.NewTicker(liveInterval)
	defer ticker.Stop()
	for {
		now := time.Now()
		u := update{Parts: make(map[string]string), Order: make(map[string][]string), Time: clock(now)}
		more := f.next(&u, now)
		data, err := json.Marshal(u)
		if err != nil {
			return
		}
		rc.SetWriteDeadline(now.Add(liveTimeout)) // an http.ResponseWriter without one has no slow clients
		if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil || rc.Flush() != nil || !more {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		case <-p.ended.Done():
			return
		}
	}
}

func (p *Page) feedOf(r *http.Request) feed {
	root := rootOf(r, 0)
	switch q := r.URL.Query(); {
	case q.Has("service"):
		if !strings.HasPrefix(root, "/") {
			root = "../"
		}
		return &serviceFeed{page: p, root: root, name: q.Get("service"), sent: make(map[string]string)}
	case q.Has("events"):
		return &eventsFeed{page: p, root: root, service: q.Get("of"), kind: q.Get("kind"), sent: make(map[string]string)}
	}
	return &overviewFeed{page: p, root: root, rows: make(map[string]Row), sent: make(map[string]string)}
}

// render renders a template to be a part of a document that is at root.
func (p *Page) render(name, root string, content any) string {
	var b bytes.Buffer
	d := document{Root: root, Detailed: p.detailed(), Content: content}
	if err := p.pages.ExecuteTemplate(&b, name, d); err != nil {
		return "" // which the tests of the templates rule out
	}
	return b.String()
}

// put adds a part to u unless it is as it was sent before.
func put(u *update, sent map[string]string, id, html string) {
	if before, ok := sent[id]; !ok || before != html {
		sent[id], u.Parts[id] = html, html
	}
}

type overviewFeed struct {
	page *Page
	root string
	rows map[string]Row // as they were sent last, by id
	last []string       // their order
	sent map[string]string
}

func (f *overviewFeed) next(u *update, now time.Time) bool {
	o := f.page.overview(now)
	put(u, f.sent, "summary", f.page.render("summary", f.root, o))
	put(u, f.sent, "certificates", f.page.render("certificates", f.root, o))
	order := make([]string, len(o.Rows))
	is := make(map[string]bool, len(o.Rows))
	for i, row := range o.Rows {
		order[i], is[row.ID] = row.ID, true
		if before, ok := f.rows[row.ID]; !ok || !reflect.DeepEqual(before, row) {
			f.rows[row.ID] = row
			u.Parts[row.ID] = f.page.render("row", f.root, row)
		}
	}
	if !reflect.DeepEqual(order, f.last) {
		f.last, u.Order["services"] = order, order
		for id := range f.rows {
			if !is[id] {
				delete(f.rows, id)
			}
		}
	}
	return true
}

type serviceFeed struct {
	page       *Page
	root, name string
	sent       map[string]string
}

func (f *serviceFeed) next(u *update, now time.Time) bool {
	v, ok := f.page.service(f.name, now)
	if !ok {
		u.Parts["now"] = f.page.render("gone", f.root, Service{Row: Row{Name: f.name}})
		return false
	}
	for _, part := range []string{"now", "targets", "charts", "parts", "options", "history", "recent"} {
		put(u, f.sent, part, f.page.render(part, f.root, v))
	}
	return true
}

type eventsFeed struct {
	page                *Page
	root, service, kind string
	sent                map[string]string
}

func (f *eventsFeed) next(u *update, now time.Time) bool {
	put(u, f.sent, "rows", f.page.render("eventrows", f.root, f.page.events(f.service, f.kind, now)))
	return true
}

// shownLines is how many lines of the log a page has.
const shownLines = 100

// Log is the page with the log of a service.
type Log struct {
	Name        string
	FailedFirst bool
	Lines       []LogLine
}

// A LogLine is a line of the log.
type LogLine struct {
	Text   string
	Failed bool
}

func (p *Page) serveLog(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("service")
	if !p.detailed() {
		http.Error(w, "the log is shown only with --page-password-file: every user of the machine could read it", http.StatusForbidden)
		return
	}
	l := Log{Name: name, FailedFirst: r.FormValue("failed") == "first"}
	err := p.config.Logs(r.Context(), name, shownLines, func(lines []byte) error {
		for text := range strings.Lines(string(lines)) {
			text = strings.TrimSuffix(text, "\n")
			l.Lines = append(l.Lines, LogLine{text, isFailure(text)})
		}
		return nil
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	l.order()
	p.write(w, "log", p.document(r, "Log of "+name, 2, "", l))
}

// order puts the newest line first, behind those of failures if these are to be first.
func (l *Log) order() {
	var failed, others []LogLine
	for i := len(l.Lines) - 1; i >= 0; i-- {
		if l.FailedFirst && l.Lines[i].Failed {
			failed = append(failed, l.Lines[i])
		} else {
			others = append(others, l.Lines[i])
		}
	}
	l.Lines = append(failed, others...)
}

// isFailure reports whether a line, in either form of the log, is of a request that
// failed, or an error.
func isFailure(text string) bool {
	var line struct {
		Level  string `json:"level"`
		Status int    `json:"status"`
	}
	if json.Unmarshal([]byte(text), &line) == nil {
		return line.Status >= 500 || line.Level == "ERROR" || line.Level == "WARN"
	}
	for _, part := range []string{" status=5", "level=ERROR", "level=WARN"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
