package main

import "strings"

// A roff is a text in the language of man(7), as groff and mandoc read it.
type roff struct {
	b            strings.Builder
	afterHeading bool // what comes next stands below a heading, which is a paragraph already
}

// roffEscapes has words as they are typed come out as they are typed: man(1)
// makes typographic characters of these, which no shell knows.
var roffEscapes = strings.NewReplacer(
	`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `^`, `\(ha`, `~`, `\(ti`, `"`, `\(dq`,
)

func (r *roff) String() string { return r.b.String() }

// request writes a request, such as SH, and its arguments, each of which may hold
// anything but a line break.
func (r *roff) request(name string, arguments ...string) {
	r.b.WriteString("." + name)
	for _, a := range arguments {
		r.b.WriteString(` "` + roffEscapes.Replace(a) + `"`)
	}
	r.b.WriteByte('\n')
	r.afterHeading = name == "SH" || name == "SS"
}

// paragraph begins one.
func (r *roff) paragraph() {
	if !r.afterHeading {
		r.request("PP")
	}
	r.afterHeading = false
}

// line writes what is to be seen of a line, also where it begins like a request.
func (r *roff) line(s string) {
	if strings.HasPrefix(s, ".") {
		r.b.WriteString(`\&`)
	}
	r.b.WriteString(roffEscapes.Replace(s) + "\n")
	r.afterHeading = false
}

// text writes sentences, each on a line of its own, which is how roff knows
// them.
func (r *roff) text(s string) {
	s = strings.Join(strings.Fields(s), " ")
	for line := range strings.SplitSeq(strings.ReplaceAll(s, ". ", ".\n"), "\n") {
		r.line(line)
	}
}

// paragraphs writes a text that has empty lines between them.
func (r *roff) paragraphs(s string) {
	for paragraph := range strings.SplitSeq(strings.TrimSpace(s), "\n\n") {
		switch {
		case paragraph == "":
		case strings.TrimLeft(paragraph, " \t") != paragraph:
			r.verbatim(paragraph)
		default:
			r.paragraph()
			r.text(paragraph)
		}
	}
}

// verbatim writes lines as they are.
func (r *roff) verbatim(s string) {
	r.paragraph()
	r.request("EX")
	for line := range strings.SplitSeq(s, "\n") {
		r.line(line)
	}
	r.request("EE")
}

// An entry is a name and what is to be said of it.
type entry struct{ name, text string }

func (r *roff) entries(all []entry) {
	for _, e := range all {
		r.request("TP")
		r.request("B", e.name)
		r.text(e.text)
	}
}
