// Package headers has the rules by which an operator changes header fields.
package headers

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// Rules change the header of a message. Nil changes nothing. They never change
// themselves, and any number of goroutines may use them.
type Rules []rule

type rule struct {
	name  string   // canonical
	value []string // nil: the field is deleted
}

// ParseRequest returns the Rules for the headers of requests to a target, each
// written as "set NAME: VALUE" or "del NAME".
//
// Refused are the fields that frame the message or are for one connection
// alone, Host, and Expect: they follow from the request, and with others it
// would be another or break. Forwarded, X-Forwarded-For, X-Real-IP, X-Request-ID
// and X-Request-Start may be deleted but not set: one value for all requests is
// true of none. The rest of X-Forwarded is the operator's, who alone knows of a
// balancer that ends TLS and does not say so. A name with '_' is taken as the
// one with '-', as many programs behind take it.
func ParseRequest(rules []string) (Rules, error) { return parse(rules, refuseRequest) }

// ParseResponse is ParseRequest for the headers of answers to clients. Refused
// are the fields that frame the message or are for one connection alone.
func ParseResponse(rules []string) (Rules, error) { return parse(rules, refuseResponse) }

// Apply changes h, whose names are canonical, by one rule after another: set
// replaces all values of a field by its own, and del deletes them. Values are
// not changed in place, so others may share them; those that are set are shared
// by all headers they are set in, and nobody may change them either. It
// allocates only what h needs to grow.
func (r Rules) Apply(h http.Header) {
	for _, rule := range r {
		if rule.value == nil {
			delete(h, rule.name)
		} else {
			h[rule.name] = rule.value
		}
	}
}

var (
	errForm   = errors.New(`want "set NAME: VALUE" or "del NAME", such as "set X-Robots-Tag: noindex"`)
	errValue  = errors.New("the value has a control character: want visible ones, spaces and tabs")
	errFrames = errors.New("this field follows from the message and its connection: want no rule for it")
	errHop    = errors.New("this field ends requests that go in circles: want no rule for it")
	errOthers = errors.New("this field is another for each request: want del, or no rule for it")
)

// parse asks refuse for each rule, after the canonical name, whether it is not
// for the operator.
func parse(rules []string, refuse func(name string, set bool) error) (Rules, error) {
	var parsed Rules
	for _, s := range rules {
		r, err := parseRule(s)
		if err == nil {
			name := textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(r.name, "_", "-"))
			err = refuse(name, r.value != nil)
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

// CanSend reports whether a field of that name and value can be sent with a request
// that somebody else frames: it does not bear on the message or name its host.
func CanSend(name, value string) bool {
	if !field.IsToken(name) {
		return false
	}
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Connection", "Content-Length", "Transfer-Encoding":
		return false
	}
	return field.IsValue(value)
}
