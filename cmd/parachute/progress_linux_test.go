package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"
)

var control = regexp.MustCompile(`\x1b\[(\d*)([A-Za-z])`)

// shownBy returns the lines that a terminal shows to which text was written. It
// knows what parachute may use.
func shownBy(text string) []string {
	lines, at := []string{""}, 0
	for text != "" {
		if m := control.FindStringSubmatch(text); m != nil && strings.HasPrefix(text, m[0]) {
			n, _ := strconv.Atoi(m[1])
			switch m[2] {
			case "A":
				at -= n
			case "K":
				lines[at] = ""
			case "m":
			default:
				panic("the terminal does not know " + strconv.Quote(m[0]))
			}
			text = text[len(m[0]):]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch r {
		case '\r':
		case '\n':
			if at++; at == len(lines) {
				lines = append(lines, "")
			}
		default:
			lines[at] += string(r) // what was there was erased
		}
	}
	return lines
}

// awaitShown returns when the terminal of p shows something that matches.
func awaitShown(t *testing.T, p *process, pattern string) {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	err := p.stdout.AwaitAll(p.ended, patience, func(said string) bool {
		return wanted.MatchString(strings.Join(shownBy(said), "\n"))
	})
	if err != nil {
		t.Fatalf("%v and never showed %s, but:\n%s", err, pattern, strings.Join(shownBy(p.stdout.String()), "\n"))
	}
}

func TestDeployAtATerminalHasALineForEachPhaseThatMoves(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, inProcess, env)
	old, one, two := newApp(t, "old"), newApp(t, "one"), newApp(t, "two")
	is.Equal(inProcess(t, env, "deploy", old.address).wait(t), 0)
	running := hold(t, address, old)
	one.probe.Store(http.StatusServiceUnavailable)

	p := onTerminal(t, env, 120, 24, "deploy", "default", "--target", one.address, "--target", two.address)
	awaitShown(t, p, `waiting \.\.\. +GET /up 503 "starting" \(\d+ probes?, \d\S* of 30s\)\ndefault  \S+ +healthy after`)
	awaitShown(t, p, `waiting \.\.\. +GET /up 503 "starting" \(\d+ probes, [1-9][\d.]*s of 30s\)`) // probes come twice a second by then
	one.probe.Store(http.StatusOK)
	awaitShown(t, p, `draining +1 request left \(\d\S* of 30s\)`) // although there was one event
	old.release <- struct{}{}
	is.Equal(<-running, "200 old")
	is.Equal(p.wait(t), 0)
	awaitShown(t, p, `done in`)

	lines := shownBy(p.stdout.String())
	for i, want := range []string{
		"^default  " + one.address + `  healthy after \S+ +GET /up 200 in \S+$`,
		"^default  " + two.address + `  healthy after \S+ +GET /up 200 in \S+$`,
		`^default  switched +any host, generation 2$`,
		`^default  drained +in \S+$`,
		`^default  done in \S+ +old target ` + old.address + ` may be removed$`,
		`^$`,
	} {
		if !regexp.MustCompile(want).MatchString(lines[i]) {
			t.Errorf("line %d is %q, not %s", i+1, lines[i], want)
		}
	}
	is.Equal(len(lines), 6)                                               // whatever moved, moved in its place
	is.True(strings.Contains(p.stdout.String(), "\x1b[32mhealthy after")) // in colour
}

func TestWarningAtATerminalIsNotDrawnOver(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, inProcess, env)
	old, one := newApp(t, "old"), newApp(t, "one")
	is.Equal(inProcess(t, env, "deploy", old.address).wait(t), 0)
	running := hold(t, address, old)
	p := withTerminal(t, env, 120, 24, func(terminal *os.File) io.Writer { return terminal }, newOutput(),
		"deploy", one.address, "--drain-timeout", "50ms")
	is.Equal(p.wait(t), 0)
	is.True(strings.HasPrefix(<-running, "504 "))
	lines := shownBy(p.stdout.String())
	for i, want := range []string{"healthy after", "switched", "now: --drain-timeout 50ms", "drained", "warning: 1 request cut off", "done in"} {
		is.True(strings.Contains(lines[i], want)) // in this order, each once
	}
	old.release <- struct{}{}
}

func TestLinesFitIntoTheTerminalAndHaveNoColourWhereNoneIsWanted(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	sick := newApp(t, "sick")
	sick.probe.Store(http.StatusServiceUnavailable)
	p := onTerminal(t, env.with(environment{"NO_COLOR": "1"}), 40, 24, "deploy", sick.address, "--deploy-timeout", "2s")
	is.Equal(p.wait(t), 1)
	awaitShown(t, p, `waiting`)
	for _, line := range shownBy(p.stdout.String()) {
		is.True(utf8.RuneCountInString(line) < 40)
	}
	is.True(!strings.Contains(p.stdout.String(), "m")) // no colour: nothing here has the letter that ends one
}

func TestOutputForProgramsAndNone(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	a, sick := newApp(t, "web"), newApp(t, "sick")
	sick.probe.Store(http.StatusServiceUnavailable)

	ends := func(code int, args ...string) (kinds []string, last map[string]any, stderr string) {
		t.Helper()
		p := inProcess(t, env, args...)
		is.Equal(p.wait(t), code)
		for line := range strings.Lines(p.stdout.String()) {
			var l struct {
				Event         *struct{ Kind string }
				Result, Error map[string]any
			}
			is.NoErr(json.Unmarshal([]byte(line), &l))
			is.True(last == nil) // the end is the last line
			if l.Event != nil {
				kinds = append(kinds, l.Event.Kind)
			} else if last = l.Result; last == nil {
				last = l.Error
			}
		}
		return kinds, last, p.stderr.String()
	}
	kinds, last, stderr := ends(0, "deploy", "web", "--target", a.address, "--json")
	is.Equal(kinds, []string{"deploying", "probed", "healthy", "switched"})
	is.Equal(last["generation"], 1.0)
	is.Equal(stderr, "")
	kinds, _, _ = ends(0, "pause", "web", "--json")
	is.Equal(kinds, []string{"paused", "draining", "drained"})
	kinds, _, _ = ends(0, "resume", "web", "--json")
	is.Equal(kinds, []string{"resumed"})

	kinds, last, stderr = ends(1, "deploy", "web", "--target", sick.address, "--deploy-timeout", "1ms", "--json")
	is.Equal(kinds[len(kinds)-1], "failed")
	is.Equal(last["code"], "unhealthy")
	is.True(strings.Contains(last["hint"].(string), "--deploy-timeout"))
	is.Equal("parachute: "+strings.TrimPrefix(last["detail"].(string), "parachute: ")+"\n", stderr) // the same for people
	_, last, _ = ends(2, "deploy", "web", "--json")
	is.Equal(last["code"], "usage")
	_, last, _ = ends(5, "remove", "web", "--json", "--socket", env["PARACHUTE_SOCKET"]+"-not")
	is.Equal(last["code"], "no_proxy")

	for _, args := range [][]string{
		{"deploy", "web", "--target", a.address}, {"stop", "web"}, {"resume", "web"},
		{"rollout", "deploy", "web", "--target", a.address}, {"rollout", "set", "web", "--percent", "5"}, {"rollout", "stop", "web"}, {"remove", "web"},
	} {
		p := inProcess(t, env, append(args, "--quiet")...)
		is.Equal(p.wait(t), 0)
		is.Equal(p.stdout.String()+p.stderr.String(), "")
	}
	p := inProcess(t, env, "remove", "web", "--quiet")
	is.Equal(p.wait(t), 1)
	is.True(strings.Contains(p.stderr.String(), "no such service"))
	is.Equal(inProcess(t, env, "remove", "web", "--quiet", "--json").wait(t), 2)
}
