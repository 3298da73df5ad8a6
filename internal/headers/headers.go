// Package headers parses and applies an operator's rules for header fields.
package headers

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// Rules change the header of a message. Nil Rules change nothing. Rules do not change, and
// are safe for concurrent use.
type Rules []rule

type rule struct {
	name  string   // canonical
	value []string // nil: the field is deleted, unless there is an edit
	edit  *edit    // of each value; nil: there is none
}

// ParseRequest returns the Rules for the headers of requests to a target, each
// written as "set NAME: VALUE", "del NAME" or "edit NAME PATTERN REPLACEMENT".
//
// An edit replaces the first match of PATTERN, a regular expression as Go and RE2 have
// it, in each value of the field; a value without a match stays as it is. PATTERN has
// no spaces. REPLACEMENT may have some; in it, $1 and ${name} stand for what a group of
// the pattern has matched, and $$ for a dollar sign.
//
// There may be no rule for a field that frames the message or is for one connection only,
// nor for Host and Expect, which have to match the request. Forwarded, X-Forwarded-For,
// X-Real-IP, X-Request-ID and X-Request-Start may be deleted but not set, for no value is
// right for all requests; nor may they be edited. The other X-Forwarded fields may be
// set: only the operator knows of a load balancer that terminates TLS and does not say
// so. A name with '_' is treated as the same name with '-', as many servers do.
func ParseRequest(rules []string) (Rules, error) { return parse(rules, refuseRequest) }

// ParseResponse is like ParseRequest, for the headers of answers to clients. There may be
// no rule for a field that frames the message or is for one connection only.
func ParseResponse(rules []string) (Rules, error) { return parse(rules, refuseResponse) }

// Apply applies the rules to h, whose names must be canonical, in their order: set replaces
// all values of a field, del deletes the field, and edit changes its values. The values of
// h may be shared: Apply replaces slices. Those that it sets are shared by all headers, and
// must not be changed. Apply allocates only what h needs to grow, and what it edits.
func (r Rules) Apply(h http.Header) {
	for _, rule := range r {
		switch {
		case rule.edit != nil:
			rule.edit.apply(h, rule.name)
		case rule.value == nil:
			delete(h, rule.name)
		default:
			h[rule.name] = rule.value
		}
	}
}

// ApplyToRequest is Apply for the header of a request. To many servers a name with '_' is
// the same one with '-': a field whose name differs from that of a rule in this alone is
// dropped, lest a client says itself what the rule is about.
func (r Rules) ApplyToRequest(h http.Header) {
	for name := range h {
		if r.isForgery(name) {
			delete(h, name)
		}
	}
	r.Apply(h)
}

// isForgery reports whether a rule has another spelling of name, and none has name itself.
func (r Rules) isForgery(name string) bool {
	forgery := false
	for i := range r {
		if r[i].name == name {
			return false
		}
		forgery = forgery || isSameVariable(r[i].name, name)
	}
	return forgery
}

// isSameVariable reports whether the fields a and b are one variable to a server that
// makes HTTP_X_A of X-A and of X_A (RFC 3875, section 4.1.18).
func isSameVariable(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if variableByte(a[i]) != variableByte(b[i]) {
			return false
		}
	}
	return true
}

func variableByte(c byte) byte {
	switch {
	case c == '-':
		return '_'
	case 'a' <= c && c <= 'z':
		return c - 'a' + 'A'
	}
	return c
}

var (
	errForm   = errors.New(`want "set NAME: VALUE", "del NAME" or "edit NAME PATTERN REPLACEMENT", such as "set X-Robots-Tag: noindex"`)
	errValue  = errors.New("the value has a control character: want visible ones, spaces and tabs")
	errFrames = errors.New("this header belongs to the message and its connection: leave the rule out")
	errHop    = errors.New("this header ends requests that go in circles: leave the rule out")
	errOthers = errors.New("this header has another value for each request: want del, or leave the rule out")
)

// parse parses rules. refuse is called for each, with the canonical name; its error says
// that there may be no such rule.
func parse(rules []string, refuse func(name string, set bool) error) (Rules, error) {
	var parsed Rules
	for _, s := range rules {
		r, err := parseRule(s)
		if err == nil {
			name := textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(r.name, "_", "-"))
			err = refuse(name, r.value != nil || r.edit != nil)
		}
		if err != nil {
			return nil, fmt.Errorf("header rule %q: %w", s, err)
		}
		parsed = append(parsed, r)
	}
	return parsed, nil
}

func parseRule(s string) (rule, error) {
	verb, rest, _ := strings.Cut(s, " ")
	if verb == "edit" {
		return parseEdit(textproto.TrimString(rest))
	}
	name, value, colon := strings.Cut(textproto.TrimString(rest), ":")
	if !field.IsToken(name) || !(verb == "set" && colon || verb == "del" && !colon) {
		return rule{}, errForm
	}
	r := rule{name: textproto.CanonicalMIMEHeaderKey(name)}
	if verb == "set" {
		value = textproto.TrimString(value)
		if !field.IsValue(value) {
			return rule{}, errValue
		}
		r.value = []string{value}
	}
	return r, nil
}

func refuseRequest(name string, set bool) error {
	switch name {
	case "Host", "Expect":
		return errFrames
	case "Forwarded", "X-Forwarded-For", "X-Real-Ip", "X-Request-Id", "X-Request-Start":
		if set {
			return errOthers
		}
	}
	return refuseResponse(name, set)
}

func refuseResponse(name string, _ bool) error {
	switch name {
	case "Connection", "Content-Length", "Http2-Settings", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade":
		return errFrames
	case "X-Parachute-Hop":
		return errHop
	}
	return nil
}
