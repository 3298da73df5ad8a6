package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/matryer/is"
)

// page returns the manual page of this program, as of a certain build.
func page(t *testing.T) string {
	t.Helper()
	p := &program{environ: &environ{getenv: func(string) string { return "" }}}
	parser, err := p.parser(func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return manualPage(parser.Model, build{Version: "v1.2.3", Time: time.Date(2026, 11, 24, 23, 0, 0, 0, time.UTC)})
}

func TestManualHasAllThatTheGrammarHas(t *testing.T) {
	is := is.New(t)
	page := page(t)
	is.True(strings.HasPrefix(page, `.TH PARACHUTE 1 2026-11-24 "parachute v1.2.3" `))
	for node := range commands(t) {
		if !node.Leaf() {
			continue
		}
		of := part(page, commandPath(node))
		if of == "" {
			t.Errorf("nothing about %s", commandPath(node))
		}
		for _, alias := range node.Aliases {
			is.True(strings.Contains(page, `.SS "`+commandPath(node)+" ("+alias)) // in the heading
		}
		for _, flag := range node.Flags {
			for _, form := range flagNames(flag) {
				if name := roffEscapes.Replace(form.word); !strings.Contains(of, name) {
					t.Errorf("nothing about %s of %s", form.word, commandPath(node))
				}
			}
			for _, variable := range variables(flag.Value) {
				is.True(strings.Contains(part(page, "ENVIRONMENT"), variable))
			}
		}
		for line := range strings.Lines(examplesOf(node)) {
			is.True(strings.Contains(part(page, "EXAMPLES"), roffEscapes.Replace(line)))
		}
	}
	for _, code := range []int{exitDone, exitRefused, exitUsage, exitUndecided, exitSuperseded, exitNoProxy} {
		is.True(strings.Contains(part(page, "EXIT STATUS"), fmt.Sprintf(".B \"%d\"\n", code)))
	}
	is.True(strings.Contains(part(page, "FILES"), systemSocket))
	is.True(!strings.Contains(page, "__complete")) // what is hidden
}

// part returns what stands below a heading, up to the next of its rank.
func part(page, heading string) string {
	for _, rank := range []string{"\n.SH ", "\n.SS "} {
		for piece := range strings.SplitSeq(page, rank) {
			if title, text, _ := strings.Cut(piece, "\n"); title == `"`+heading+`"` || strings.HasPrefix(title, `"`+heading+" (") {
				return text
			}
		}
	}
	return ""
}

func TestManualIsWellFormed(t *testing.T) {
	for _, checker := range [][]string{
		{"groff", "-man", "-Tutf8", "-ww", "-z"},
		{"mandoc", "-T", "lint", "-W", "warning"},
	} {
		t.Run(checker[0], func(t *testing.T) {
			path, err := exec.LookPath(checker[0])
			if err != nil {
				t.Skipf("there is no %s here", checker[0])
			}
			is := is.New(t)
			cmd := exec.Command(path, checker[1:]...)
			cmd.Stdin = strings.NewReader(page(t))
			out, err := cmd.CombinedOutput()
			is.Equal(string(out), "") // nothing to complain about
			is.NoErr(err)
		})
	}
}

func TestRoffShowsTextAsItIs(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(*roff)
		want  string
	}{
		{"a dot in front", func(r *roff) { r.line(".SH is no heading") }, "\\&.SH is no heading\n"},
		{"a quote in front", func(r *roff) { r.line("'tis") }, "\\(aqtis\n"},
		{"a dot in front of a sentence", func(r *roff) { r.text("Hm. ...and so on.") }, "Hm.\n\\&...and so on.\n"},
		{"a backslash", func(r *roff) { r.line(`\fB`) }, "\\efB\n"},
		{"a flag", func(r *roff) { r.line("--tls `~^\"") }, "\\-\\-tls \\(ga\\(ti\\(ha\\(dq\n"},
		{"an argument", func(r *roff) { r.request("B", `a "b" \c`) }, ".B \"a \\(dqb\\(dq \\ec\"\n"},
		{"paragraphs", func(r *roff) { r.paragraphs("One\nis this.\n\n  code\n\nTwo.") }, ".PP\nOne is this.\n.PP\n.EX\n  code\n.EE\n.PP\nTwo.\n"},
		{"no paragraph", func(r *roff) { r.paragraphs("") }, ""},
		{"one below a heading", func(r *roff) { r.request("SH", "H"); r.paragraphs("One.\n\nTwo.") }, ".SH \"H\"\nOne.\n.PP\nTwo.\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			var r roff
			test.write(&r)
			is.Equal(r.String(), test.want)
		})
	}
}

func TestFlagIsSpelledInAllItsForms(t *testing.T) {
	is := is.New(t)
	var command struct {
		Plain  string `placeholder:"FILE" aliases:"other"`
		Switch bool   `negatable:""`
		NoLog  bool   `negatable:"log"`
	}
	parser, err := kong.New(&command, kong.NoDefaultHelp())
	is.NoErr(err)
	var all []string
	for _, flag := range parser.Model.Flags {
		all = append(all, flagSynopsis(flag))
	}
	is.Equal(all, []string{"--plain=FILE, --other=FILE", "--switch, --no-switch", "--no-log, --log"})
}
