// Package naming says what may be the name of something that people deploy: it stands in
// logs, in metrics, in URLs, and on command lines.
package naming

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLen is how many bytes a name may have.
const maxLen = 128

// Check returns an error unless name has letters, digits and marks, with single spaces
// between them. The error says what would be right. A name is one segment of a path: it
// has no slash, and is neither "." nor "..". It has at most 128 bytes.
func Check(name string) error {
	switch {
	case name == "":
		return errors.New("no service name: want one such as web")
	case len(name) > maxLen:
		return fmt.Errorf("service name of %d bytes: want at most %d", len(name), maxLen)
	case name == "." || name == "..":
		return fmt.Errorf("service name %q: want letters in it, such as web", name)
	}
	for _, c := range name {
		if c == '/' || c == utf8.RuneError || !unicode.IsGraphic(c) || c != ' ' && unicode.IsSpace(c) {
			return fmt.Errorf("service name %q has %q in it: want no '/', line breaks or control characters, such as web", name, c)
		}
	}
	// Others would look alike where they are printed.
	if strings.HasPrefix(name, " ") || strings.HasSuffix(name, " ") || strings.Contains(name, "  ") {
		return fmt.Errorf("service name %q: want one space between words and none elsewhere, as in my shop", name)
	}
	return nil
}

// CheckText returns an error unless text, if there is any, can be printed in a line and
// be the value of a header. What says what text is.
func CheckText(what, text string) error {
	if len(text) > maxLen {
		return fmt.Errorf("%s of %d bytes: want at most %d", what, len(text), maxLen)
	}
	for _, c := range text {
		if c == utf8.RuneError || c != ' ' && (unicode.IsSpace(c) || !unicode.IsGraphic(c)) {
			return fmt.Errorf("%s %q has %q in it: want printable text in one line", what, text, c)
		}
	}
	if strings.Trim(text, " ") != text {
		return fmt.Errorf("%s %q: want no space at either end", what, text)
	}
	return nil
}

// Clean returns a name that Check takes and that is as much like name as can be: what
// cannot be in a name is a hyphen.
func Clean(name string) string {
	name = strings.Map(func(c rune) rune {
		if c == '/' || c == utf8.RuneError || !unicode.IsGraphic(c) || unicode.IsSpace(c) {
			return '-'
		}
		return c
	}, name)
	for len(name) > maxLen {
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
	if Check(name) != nil {
		return "service"
	}
	return name
}
