package pages

import (
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/regular"
)

// maxSize bounds each file of a folder.
const maxSize = 1 << 20

// Load returns the Set with the pages in the folder dir, and those of s for
// what dir lacks: a 4xx.html in dir goes before a 404.html in s.
//
// Each file with the name of a page is a template of html/template by itself,
// named and executed as New says. Files with other names, which a framework may
// have put there, are left alone. It is an error if dir cannot be read or has no
// page, if a page is larger than 1 MiB, and if a template is broken: each is
// executed for every status that may come to it, with a message and without. An
// error says which file it is, and what would be right. Load reads each file
// once: later changes are for the next call.
func (s *Set) Load(dir string) (*Set, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, unreadable("the folder of error pages "+dir, "folder", err)
	}
	own := make(map[string]*template.Template)
	for _, entry := range entries {
		name := entry.Name()
		first, last, ok := statuses(name)
		if !ok {
			continue
		}
		if own[name], err = load(filepath.Join(dir, name), first, last); err != nil {
			return nil, err
		}
	}
	if len(own) == 0 {
		return nil, fmt.Errorf("the folder of error pages %s has none: want files such as 404.html, for any status from 400 to 599, or 4xx.html and 5xx.html", dir)
	}
	loaded := *s
	loaded.put(func(name string) *template.Template { return own[name] })
	return &loaded, nil
}

// load returns the page in a file, which is for the statuses from first to last.
func load(file string, first, last int) (*template.Template, error) {
	data, err := read(file)
	if err != nil {
		return nil, err
	}
	t, err := template.New(filepath.Base(file)).Parse(data)
	if err == nil {
		err = try(t, first, last)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be used: %w: want an html/template that needs no more than .Status, .Title, .Text, .Message and .RequestID", file, err)
	}
	return t, nil
}

// statuses returns which statuses a file is for by its name. It reports false for
// the name of no page.
func statuses(name string) (first, last int, ok bool) {
	switch base := strings.TrimSuffix(name, ".html"); base {
	case "4xx":
		return 400, 499, true
	case "5xx":
		return 500, 599, true
	default:
		status, err := strconv.Atoi(base)
		ok = err == nil && status >= minStatus && status <= maxStatus && name == strconv.Itoa(status)+".html"
		return status, status, ok
	}
}

// try executes t as it may come to be.
func try(t *template.Template, first, last int) error {
	for status := first; status <= last; status++ {
		// A range has many statuses that nobody sends.
		if first != last && http.StatusText(status) == "" {
			continue
		}
		for _, p := range []Page{
			{Status: status},
			{Status: status, Message: "Back at five.", RequestID: "0123456789abcdef"},
		} {
			if err := t.Execute(io.Discard, p.templateData()); err != nil {
				return err
			}
		}
	}
	return nil
}

func read(name string) (string, error) {
	data, err := regular.ReadFile(name, maxSize)
	switch {
	case errors.Is(err, regular.ErrNotRegular):
		return "", fmt.Errorf("%s is no regular file: want an error page there", name)
	case errors.Is(err, regular.ErrTooLarge):
		return "", fmt.Errorf("%s has more than 1 MiB: want a smaller page", name)
	case err != nil:
		return "", unreadable(name, "file", err)
	}
	return string(data), nil
}

// unreadable says that something of that kind could not be read because of err.
func unreadable(what, kind string, err error) error {
	if descriptors.IsShortage(err) {
		return fmt.Errorf("%s cannot be read: %w: %s", what, cause(err), descriptors.Advice(err))
	}
	return fmt.Errorf("%s cannot be read: %w: want a %s that uid %d may read", what, cause(err), kind, os.Geteuid())
}

// cause returns what went wrong with a file, without the name, which our own
// errors have.
func cause(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}
