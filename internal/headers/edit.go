package headers

import (
	"fmt"
	"net/http"
	"net/textproto"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// The limits of an edit. A match takes time in proportion to the length of the value
// times that of the program.
const (
	maxPattern     = 1 << 10 // bytes of the pattern, and of the replacement
	maxProgram     = 1000    // instructions that the pattern is compiled to
	maxEditedValue = 64 << 10
)

// An edit replaces the first match of a pattern in a value.
type edit struct {
	pattern     *regexp.Regexp
	replacement []piece
}

// A piece of a replacement is text, or what a group of the pattern has matched.
type piece struct {
	text  string
	group int // -1: it is text
}

// parseEdit parses what follows "edit": NAME PATTERN REPLACEMENT.
func parseEdit(s string) (rule, error) {
	name, rest, _ := strings.Cut(s, " ")
	pattern, replacement, _ := strings.Cut(textproto.TrimString(rest), " ")
	replacement = textproto.TrimString(replacement)
	switch {
	case !field.IsToken(name) || pattern == "":
		return rule{}, errForm
	case !field.IsValue(replacement):
		return rule{}, errValue
	case len(pattern) > maxPattern || len(replacement) > maxPattern:
		return rule{}, fmt.Errorf("a pattern of %d bytes and a replacement of %d: want at most %d each", len(pattern), len(replacement), maxPattern)
	}
	compiled, err := compile(pattern)
	if err != nil {
		return rule{}, err
	}
	pieces, err := parseReplacement(replacement, compiled)
	if err != nil {
		return rule{}, err
	}
	return rule{name: textproto.CanonicalMIMEHeaderKey(name), edit: &edit{compiled, pieces}}, nil
}

// compile returns a pattern that is not too large.
func compile(pattern string) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the pattern is no regular expression: %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("the pattern is no regular expression: %w", err)
	}
	if n := len(program.Inst); n > maxProgram {
		return nil, fmt.Errorf("the pattern has %d steps: want at most %d, with fewer repetitions", n, maxProgram)
	}
	return regexp.Compile(pattern)
}

// parseReplacement parses a replacement for matches of pattern.
func parseReplacement(s string, pattern *regexp.Regexp) (pieces []piece, err error) {
	for s != "" {
		text, rest, found := strings.Cut(s, "$")
		if text != "" {
			pieces = append(pieces, piece{text, -1})
		}
		if !found {
			break
		}
		if after, isDollar := strings.CutPrefix(rest, "$"); isDollar {
			pieces, s = append(pieces, piece{"$", -1}), after
			continue
		}
		name, after := cutGroup(rest)
		group := pattern.SubexpIndex(name)
		if n, err := strconv.Atoi(name); err == nil {
			group = n
		}
		if group < 0 || group > pattern.NumSubexp() {
			return nil, fmt.Errorf("the replacement names a group that the pattern does not have: %q: want $1 or ${name}, and $$ for a dollar sign", "$"+rest)
		}
		pieces, s = append(pieces, piece{"", group}), after
	}
	return pieces, nil
}

// cutGroup cuts the number or name of a group off what follows a dollar sign. It
// returns "" as the name if there is none.
func cutGroup(s string) (name, rest string) {
	if after, ok := strings.CutPrefix(s, "{"); ok {
		name, rest, ok = strings.Cut(after, "}")
		if !ok {
			return "", s
		}
		return name, rest
	}
	rest = strings.TrimLeft(s, "0123456789")
	return s[:len(s)-len(rest)], rest
}

// apply edits each value of a field.
func (e *edit) apply(h http.Header, name string) {
	values := h[name]
	isOwn := false // values are not shared
	for i, value := range values {
		to, ok := e.replace(value)
		if !ok {
			continue
		}
		if !isOwn {
			values, isOwn = slices.Clone(values), true
			h[name] = values
		}
		values[i] = to
	}
}

// replace returns a value with the first match replaced, and false if it stays as it
// is: because there is no match, or the result would be too long.
func (e *edit) replace(value string) (string, bool) {
	if !e.pattern.MatchString(value) { // which allocates nothing
		return "", false
	}
	at := e.pattern.FindStringSubmatchIndex(value)
	var b strings.Builder
	b.WriteString(value[:at[0]])
	for _, p := range e.replacement {
		text := p.text
		if p.group >= 0 {
			text = ""
			if start, end := at[2*p.group], at[2*p.group+1]; start >= 0 {
				text = value[start:end]
			}
		}
		if b.Len()+len(text) > maxEditedValue {
			return "", false
		}
		b.WriteString(text)
	}
	b.WriteString(value[at[1]:])
	return textproto.TrimString(b.String()), true
}
