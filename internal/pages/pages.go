// Package pages writes the pages that a proxy answers with by itself: plain
// built-in ones, or those that somebody made for their site. A client that
// would rather have JSON or plain text gets that.
package pages

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"sync"
)

// The statuses that may have pages of their own.
const (
	minStatus = 400
	maxStatus = 599
)

// A Page is what there is to say.
type Page struct {
	// Status is a final one whose answers have content: not 1xx, 204, 205 or
	// 304 (RFC 9110, section 6.4.1).
	Status int

	// Message is the operator's word to visitors, in plain text; "": none.
	Message string

	// RequestID is what a visitor can name who asks about it; "": none.
	RequestID string
}

// templateData is a Page as templates see it.
type templateData struct {
	Status    int
	Title     string // the status in words: Service Unavailable
	Text      string // a sentence for a visitor, never empty
	Message   string
	RequestID string
}

func (p Page) templateData() *templateData {
	return &templateData{p.Status, title(p.Status), text(p.Status), p.Message, p.RequestID}
}

// A Set is the pages of a proxy, or of one of its services. It does not change
// once it is made, and its methods may be called from any goroutine. The zero
// Set has the built-in pages only.
type Set struct {
	own [maxStatus + 1 - minStatus]*template.Template // by status; nil: the built-in page
}

// New returns the Set with the pages in t, and built-in ones for what t lacks.
// Among its templates, 404.html is the page for that status, and 4xx.html the
// page for those of 400 to 499 that have none; so with 5xx.html. Others are
// left alone. A nil t has none.
//
// Pages are executed with .Status, a number, and with the strings .Title (the
// status in words), .Text (a sentence for a visitor), .Message (what the
// operator says) and .RequestID, of which the last two may be empty.
func New(t *template.Template) *Set {
	s := new(Set)
	if t != nil {
		s.put(t.Lookup)
	}
	return s
}

// put takes over the pages that lookup returns by their names; nil is none.
func (s *Set) put(lookup func(name string) *template.Template) {
	classes := [...]*template.Template{lookup("4xx.html"), lookup("5xx.html")}
	for i := range s.own {
		status := minStatus + i
		switch own, class := lookup(strconv.Itoa(status)+".html"), classes[i/100]; {
		case own != nil:
			s.own[i] = own
		case class != nil:
			s.own[i] = class
		}
	}
}

// page returns the page for a status, or nil if that is the built-in one.
func (s *Set) page(status int) *template.Template {
	if i := status - minStatus; i >= 0 && i < len(s.own) {
		return s.own[i]
	}
	return nil
}

// Values of header fields, which nobody changes.
var (
	contentTypes = [...][]string{
		formatText: {"text/plain; charset=utf-8"},
		formatJSON: {"application/json"},
		formatHTML: {"text/html; charset=utf-8"},
	}
	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}
	accept  = []string{"Accept"}
)

// Write answers r with p, and returns how many bytes of content it wrote. The
// content is what the Accept of r likes best of HTML, JSON and plain text. Who has
// no preference, as curl, for browsers name text/html, gets HTML where the Set has
// a page for the status, so that whoever made it can look at it, and plain text in
// place of a built-in page. The answer to HEAD is the head alone.
//
// The header of w keeps what the caller has set, except what tells of other
// content. An error must not be stored unless the caller has set Cache-Control.
//
// Nobody gets half a page: where a template fails, the page is the built-in
// one. An error of w is the client's, who has left.
func (s *Set) Write(w http.ResponseWriter, r *http.Request, p Page) (written int64) {
	b := buffers.Get().(*bytes.Buffer)
	defer putBuffer(b)
	fallback := formatText
	if s.page(p.Status) != nil {
		fallback = formatHTML
	}
	f := preferred(r.Header["Accept"], fallback)
	s.render(b, f, p)
	setHeader(w.Header(), f, b.Len(), p.Status)
	w.WriteHeader(p.Status)
	if r.Method == http.MethodHead {
		return 0
	}
	n, _ := w.Write(b.Bytes())
	return int64(n)
}

func setHeader(h http.Header, f format, length, status int) {
	for _, name := range [...]string{"Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Transfer-Encoding"} {
		delete(h, name)
	}
	h["Content-Type"] = contentTypes[f]
	h["Content-Length"] = []string{strconv.Itoa(length)}
	h["X-Content-Type-Options"] = noSniff
	if len(h["Vary"]) == 0 {
		h["Vary"] = accept
	} else {
		h.Add("Vary", "Accept")
	}
	// A permanent redirect is worth storing, but what is wrong now may be
	// right at once.
	if len(h["Cache-Control"]) == 0 && status >= minStatus {
		h["Cache-Control"] = noStore
	}
}

// maxPooled is the largest buffer that is kept: most pages are small.
const maxPooled = 64 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		buffers.Put(b)
	}
}

// render writes p to b, which is empty.
func (s *Set) render(b *bytes.Buffer, f format, p Page) {
	switch f {
	case formatHTML:
		s.renderHTML(b, p)
	case formatJSON:
		renderJSON(b, p)
	default:
		renderText(b, p)
	}
}

//go:embed page.html
var pageHTML string

// builtIn is the page for every status that has no other.
var builtIn = template.Must(template.New("page.html").Parse(pageHTML))

func (s *Set) renderHTML(b *bytes.Buffer, p Page) {
	v := p.templateData()
	if own := s.page(p.Status); own != nil {
		if own.Execute(b, v) == nil {
			return
		}
		b.Reset()
	}
	builtIn.Execute(b, v) // does not fail: it is plain strings, put into a buffer
}

func renderJSON(b *bytes.Buffer, p Page) {
	v := p.templateData()
	json.NewEncoder(b).Encode(struct {
		Status    int    `json:"status"`
		Error     string `json:"error"`
		Message   string `json:"message"`
		RequestID string `json:"request_id"`
	}{v.Status, v.Title, cmp.Or(v.Message, v.Text), v.RequestID})
}

func renderText(b *bytes.Buffer, p Page) {
	b.WriteString(strconv.Itoa(p.Status))
	b.WriteByte(' ')
	b.WriteString(title(p.Status))
	if p.Message != "" {
		b.WriteString(": ")
		b.WriteString(p.Message)
	}
	b.WriteByte('\n')
}
