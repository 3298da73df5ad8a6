package main

import "strings"

// A roff builds a page in the language of man(7), for groff and mandoc.
type roff struct {
	b            strings.Builder
	afterHeading bool // a heading was written last, which begins a paragraph itself
}

// roffEscapes escapes the characters that man(1) would replace by typographic
// ones, which no shell understands.
var roffEscapes = strings.NewReplacer(
	`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `^`, `\(ha`, `~`, `\(ti`, `"`, `\(dq`,
)

func (r *roff) String() string { return r.b.String() }

// request writes a request, such as SH, and its arguments, which must not
// contain line breaks.
func (r *roff) request(name string, arguments ...string) {
	r.b.WriteString("." + name)
	for _, a := range arguments {
		r.b.WriteString(` "` + roffEscapes.Replace(a) + `"`)
	}
	r.b.WriteByte('\n')
	r.afterHeading = name == "SH" || name == "SS"
}

// paragraph begins a paragraph.
func (r *roff) paragraph() {
	if !r.afterHeading {
		r.request("PP")
	}
	r.afterHeading = false
}

// line writes a line of text. It escapes a line that looks like a request.
func (r *roff) line(s string) {
	if strings.HasPrefix(s, ".") {
		r.b.WriteString(`\&`)
	}
	r.b.WriteString(roffEscapes.Replace(s) + "\n")
	r.afterHeading = false
}

// text writes sentences, each on a line of its own, which is how roff tells them
// apart.
func (r *roff) text(s string) {
	s = strings.Join(strings.Fields(s), " ")
	for line := range strings.SplitSeq(strings.ReplaceAll(s, ". ", ".\n"), "\n") {
		r.line(line)
	}
}

// paragraphs writes paragraphs that are separated by empty lines. An indented
// paragraph is written as it is.
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

// An entry is a name and its description.
type entry struct{ name, text string }

func (r *roff) entries(all []entry) {
	for _, e := range all {
		r.request("TP")
		r.request("B", e.name)
		r.text(e.text)
	}
}
