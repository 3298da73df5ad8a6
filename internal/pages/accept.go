package pages

import "strings"

// A format is a kind of content that a page can have.
type format int

// A client that likes several equally well gets the last of those that it
// named, and the fallback of preferred if it named none.
const (
	formatText format = iota
	formatJSON
	formatHTML
	formats
)

// How closely a media range says what it is about; the closest one counts
// (RFC 9110, section 12.5.1).
const (
	_            = iota
	matchesAll   // */*
	matchesType  // text/*
	matchesAlike // text/html;level=1, or for JSON application/problem+json
	matchesName  // text/html
)

// A preference is what a client said about a format.
type preference struct {
	match  int // how closely it spoke of it; 0: not at all
	weight int // in thousandths; 0: it does not want it
}

// preferred returns the format that the client likes best whose Accept fields
// these are, and fallback for one that does not say. One that likes none of them
// gets plain text, since any answer is better than a second error in place of the
// first. What is not a media range with its parameters is passed over.
func preferred(accept []string, fallback format) format {
	var all [formats]preference
	said := false
	for _, line := range accept {
		for line != "" {
			var element string
			element, line = cutUnquoted(line, ',')
			note(&all, element)
			said = true
		}
	}
	best := fallback
	if said && all[best].weight == 0 {
		best = formatText
	}
	for f := range formats {
		switch liked, most := all[f], all[best]; {
		case liked.weight > most.weight,
			liked.weight == most.weight && liked.weight > 0 && liked.match >= matchesAlike:
			best = f
		}
	}
	return best
}

// note keeps what one element of an Accept field says.
func note(all *[formats]preference, element string) {
	media, params := cutUnquoted(element, ';')
	media = strings.Trim(media, " \t")
	weight, exact := 1000, true
	for params != "" {
		var param string
		param, params = cutUnquoted(params, ';')
		name, value, _ := strings.Cut(strings.Trim(param, " \t"), "=")
		switch {
		case strings.EqualFold(name, "q"):
			var ok bool
			if weight, ok = parseWeight(value); !ok {
				return
			}
		case name != "":
			exact = false
		}
	}
	for f := range formats {
		switch m, old := match(media, exact, f), all[f]; {
		case m == 0:
		case m > old.match, m == old.match && weight > old.weight:
			all[f] = preference{m, weight}
		}
	}
}

// match returns how closely a media range, which is exact if it has no
// parameters, says that it is about f; 0: it is not.
func match(media string, exact bool, f format) int {
	var kind, name string
	switch f {
	case formatText:
		kind, name = "text/*", "text/plain"
	case formatJSON:
		kind, name = "application/*", "application/json"
	case formatHTML:
		kind, name = "text/*", "text/html"
	}
	switch {
	case media == "*/*":
		return matchesAll
	case strings.EqualFold(media, kind):
		return matchesType
	case strings.EqualFold(media, name) && exact:
		return matchesName
	case strings.EqualFold(media, name), f == formatJSON && hasSuffixFold(media, "+json"):
		return matchesAlike
	}
	return 0
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) > len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// parseWeight returns a weight (RFC 9110, section 12.4.2) in thousandths. It
// takes .5 for 0.5 as well, which old clients send.
func parseWeight(s string) (weight int, ok bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" && (whole != "" || fraction == "") || len(fraction) > 3 {
		return 0, false
	}
	if whole == "1" {
		weight = 1000
	}
	unit := 100
	for _, c := range []byte(fraction) {
		if c < '0' || c > '9' {
			return 0, false
		}
		weight += int(c-'0') * unit
		unit /= 10
	}
	return weight, weight <= 1000
}

// cutUnquoted cuts s around the first sep that is not in a quoted string
// (RFC 9110, section 5.6.4).
func cutUnquoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
