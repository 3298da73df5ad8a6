package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute"
)

// A rule is what protects or bounds a service, in the words that list and status
// show. It has no secrets: of headers it has the names.
type rule struct {
	name   string // such as "access"
	values []string
}

type ruleSet []rule

// add adds a rule, if it has a value.
func (r *ruleSet) add(name string, values []string) {
	if len(values) > 0 {
		*r = append(*r, rule{name, values})
	}
}

// text returns all rules in one line.
func (r ruleSet) text() string {
	var all []string
	for _, rule := range r {
		all = append(all, rule.name+": "+strings.Join(rule.values, ", "))
	}
	return strings.Join(all, "; ")
}

// rulesOf returns what a deployment says about who gets in, how much, and what
// becomes of requests and answers.
func rulesOf(d parachute.Deployment) ruleSet {
	var all ruleSet
	all.add("access", accessRules(d.Access))
	all.add("limits", bodyLimits(d))
	if d.CanonicalHost != "" {
		all.add("canonical", []string{d.CanonicalHost})
	}
	if d.Affinity != "" {
		all.add("affinity", []string{d.Affinity})
	}
	all.add("redirects", redirectRules(d.Redirects))
	all.add("headers", headerRules(d.Headers))
	return all
}

func accessRules(a parachute.Access) (rules []string) {
	for _, network := range a.Allow {
		rules = append(rules, "allow "+network)
	}
	for _, network := range a.Deny {
		rules = append(rules, "deny "+network)
	}
	if a.BasicAuthFile != "" {
		rules = append(rules, "passwords of "+a.BasicAuthFile)
	}
	return rules
}

func bodyLimits(d parachute.Deployment) (limits []string) {
	if d.MaxRequestBody > 0 {
		limits = append(limits, "request body "+formatSize(d.MaxRequestBody))
	}
	if d.MaxResponseBody > 0 {
		limits = append(limits, "response body "+formatSize(d.MaxResponseBody))
	}
	return limits
}

func redirectRules(redirects []parachute.Redirect) (rules []string) {
	for _, r := range redirects {
		rules = append(rules, r.From+" to "+r.To)
	}
	return rules
}

func headerRules(h parachute.Headers) (rules []string) {
	for _, r := range h.Request {
		rules = append(rules, "request "+headerRuleName(r))
	}
	for _, r := range h.Response {
		rules = append(rules, "response "+headerRuleName(r))
	}
	if h.HSTS != "" {
		rules = append(rules, "HSTS "+h.HSTS)
	}
	if h.ScopeCookies {
		rules = append(rules, "cookie paths scoped")
	}
	if h.RewriteLocation {
		rules = append(rules, "locations rewritten")
	}
	return rules
}

// headerRuleName returns what a rule does with which header, such as "set
// X-Token". The value may be a secret.
func headerRuleName(rule string) string {
	verb, rest, _ := strings.Cut(strings.TrimSpace(rule), " ")
	name, _, _ := strings.Cut(strings.TrimSpace(rest), ":")
	name, _, _ = strings.Cut(name, " ")
	return verb + " " + name
}

// formatSize returns a number of bytes as the command line takes it, such as
// "10MiB".
func formatSize(bytes int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if bytes%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", bytes/unit.bytes, unit.name)
		}
	}
	return strconv.FormatInt(bytes, 10)
}
