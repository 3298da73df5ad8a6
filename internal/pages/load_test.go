package pages_test

import (
	"html/template"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/pages"
)

func TestPagesOfAFolderGoBeforeThoseOfTheSetItIsLoadedOver(t *testing.T) {
	is := is.New(t)
	parent := template.New("site")
	for _, name := range []string{"404.html", "5xx.html", "503.html"} {
		template.Must(parent.New(name).Parse("parent's " + name))
	}
	dir := folder(t, map[string]string{
		"4xx.html":                     "own 4xx, {{.Status}}",
		"403.html":                     "own 403",
		"503.html":                     "own 503, {{.Message}}",
		"README.md":                    "{{broken",
		"406-unsupported-browser.html": "{{broken", // Rails has one beside its 404.html
		"index.html":                   "{{broken",
		"._403.html":                   "{{broken", // other systems leave such files
		"logo.svg":                     "<svg/>",
	})
	over := pages.New(parent)
	s, err := over.Load(dir)
	is.NoErr(err)
	get := func(s *pages.Set, status int) string {
		return answer(s, http.MethodGet, browser, pages.Page{Status: status, Message: "<m>"}).Body.String()
	}
	is.Equal(get(s, 403), "own 403")
	is.Equal(get(s, 404), "own 4xx, 404") // the folder's class before the parent's status
	is.Equal(get(s, 503), "own 503, &lt;m&gt;")
	is.Equal(get(s, 504), "parent's 5xx.html")
	is.Equal(get(s, 301), get(pages.New(nil), 301))
	is.Equal(get(over, 403), get(pages.New(nil), 403)) // the parent is as it was
	is.Equal(get(over, 404), "parent's 404.html")

	is.NoErr(os.RemoveAll(dir))
	is.Equal(get(s, 403), "own 403") // it was read once
}

func TestPageOfAClassIsForAllOfItThatHaveNone(t *testing.T) {
	is := is.New(t)
	s, err := new(pages.Set).Load(folder(t, map[string]string{"5xx.html": "down"}))
	is.NoErr(err)
	is.Equal(answer(s, http.MethodGet, browser, pages.Page{Status: 503}).Body.String(), "down")
	is.Equal(answer(s, http.MethodGet, browser, pages.Page{Status: 500}).Body.String(), "down")
	is.True(answer(s, http.MethodGet, browser, pages.Page{Status: 404}).Body.String() != "down")
}

func TestLoadSaysWhatIsWrongAndWhatWouldBeRight(t *testing.T) {
	uid := strconv.Itoa(os.Geteuid())
	const (
		none    = "the folder of error pages DIR has none: want files such as 404.html, for any status from 400 to 599, or 4xx.html and 5xx.html"
		content = ": want an html/template that needs no more than .Status, .Title, .Text, .Message and .RequestID"
	)
	tests := []struct {
		name  string
		files map[string]string
		spoil func(dir string) error
		want  string // DIR is the folder, … is anything
	}{
		{"no folder", nil, os.RemoveAll,
			"the folder of error pages DIR cannot be read: no such file or directory: want a folder that uid " + uid + " may read"},
		{"a file in place of the folder", nil, func(dir string) error { os.Remove(dir); return os.WriteFile(dir, nil, 0o600) },
			"the folder of error pages DIR cannot be read: not a directory: want a folder that uid " + uid + " may read"},
		{"an empty folder", nil, nil, none},
		{"no page", map[string]string{"index.htm": "", "404": "", ".404.html": ""}, nil, none},
		{"other pages only", map[string]string{
			"abc.html": "", "3xx.html": "", "200.html": "", "600.html": "", "+404.html": "", "0404.html": "", "404.HTML": "", "5XX.html": "",
			"406-unsupported-browser.html": "",
		}, nil, none},
		{"a template that does not parse", map[string]string{"404.html": "a\n{{if}}"}, nil,
			"DIR/404.html cannot be used: template: 404.html:2: missing value for if" + content},
		{"an unknown function", map[string]string{"404.html": "{{logo}}"}, nil,
			`DIR/404.html cannot be used: template: 404.html:1: function "logo" not defined` + content},
		{"an unknown field", map[string]string{"404.html": "{{.Reason}}"}, nil,
			"DIR/404.html cannot be used: template: 404.html:1:2: executing \"404.html\" at <.Reason>: can't evaluate field Reason…" + content},
		{"an unknown field, with a message only", map[string]string{"404.html": "{{if .Message}}{{.Reason}}{{end}}"}, nil,
			"DIR/404.html cannot be used: …Reason…" + content},
		{"an unknown field, without a message only", map[string]string{"404.html": "{{if not .Message}}{{.Reason}}{{end}}"}, nil,
			"DIR/404.html cannot be used: …Reason…" + content},
		{"an unknown field, for one status only", map[string]string{"5xx.html": "{{if eq .Status 504}}{{.Reason}}{{end}}"}, nil,
			"DIR/5xx.html cannot be used: …Reason…" + content},
		{"a status that has no name", map[string]string{"599.html": "{{.Reason}}"}, nil,
			"DIR/599.html cannot be used: …Reason…" + content},
		{"another file's template", map[string]string{"404.html": `{{template "5xx.html"}}`, "5xx.html": ""}, nil,
			"DIR/404.html cannot be used: …" + content},
		{"a place where nothing can be escaped", map[string]string{"404.html": "<a href='{{.Message}}"}, nil,
			"DIR/404.html cannot be used: …ends in a non-text context…" + content},
		{"a folder in place of a page", nil, func(dir string) error { return os.Mkdir(filepath.Join(dir, "404.html"), 0o700) },
			"DIR/404.html is no regular file: want an error page there"},
		{"a pipe in place of a page", nil, func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "404.html"), 0o600) },
			"DIR/404.html is no regular file: want an error page there"},
		{"a link to nothing", nil, func(dir string) error { return os.Symlink("nothing", filepath.Join(dir, "404.html")) },
			"DIR/404.html cannot be read: no such file or directory: want a file that uid " + uid + " may read"},
		{"a large page", map[string]string{"404.html": strings.Repeat("x", 1<<20+1)}, nil,
			"DIR/404.html has more than 1 MiB: want a smaller page"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			dir := folder(t, tt.files)
			if tt.spoil != nil {
				is.NoErr(tt.spoil(dir))
			}
			s, err := new(pages.Set).Load(dir)
			is.True(err != nil) // it is refused
			is.Equal(s, nil)
			if want := strings.ReplaceAll(tt.want, "DIR", dir); !matches(err.Error(), want) {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func TestPageAsLargeAsMayBeIsLoaded(t *testing.T) {
	is := is.New(t)
	s, err := new(pages.Set).Load(folder(t, map[string]string{"404.html": strings.Repeat("x", 1<<20)}))
	is.NoErr(err)
	is.Equal(answer(s, http.MethodGet, browser, pages.Page{Status: 404}).Body.Len(), 1<<20)
}

func TestLinkedPageIsLoaded(t *testing.T) {
	is := is.New(t)
	elsewhere, dir := folder(t, map[string]string{"page": "linked"}), folder(t, nil)
	is.NoErr(os.Symlink(filepath.Join(elsewhere, "page"), filepath.Join(dir, "404.html")))
	s, err := new(pages.Set).Load(dir)
	is.NoErr(err)
	is.Equal(answer(s, http.MethodGet, browser, pages.Page{Status: 404}).Body.String(), "linked")
}

// folder returns a new folder with files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// matches reports whether s is pattern, in which … stands for anything.
func matches(s, pattern string) bool {
	parts := strings.Split(pattern, "…")
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok || len(parts) == 1 {
		return ok && s == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		if _, s, ok = strings.Cut(s, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(s, parts[last])
}
