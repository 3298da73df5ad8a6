package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

const root = "../../.." // of the repository

// programs is the folder with the soak, the proxy, and a proxy whose drains do not wait.
var programs string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	flag.Parse()
	var err error
	if programs, err = os.MkdirTemp("", "soak-test"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(programs)
	return m.Run()
}

// build builds one of the programs.
func build(t *testing.T, name, dir, pkg string, flags ...string) string {
	t.Helper()
	path := filepath.Join(programs, name)
	if err := proxytest.Build(path, dir, pkg, append(flags, raceFlags()...)...); err != nil {
		t.Fatal(err)
	}
	return path
}

// raceFlags returns what builds a program with the race detector if these tests have it.
func raceFlags() []string {
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return []string{"-race"}
	}
	return nil
}

// shakeFor runs the soak, and returns what it printed and its exit code.
func shakeFor(t *testing.T, d time.Duration, parachute string, args ...string) (printed string, code int) {
	t.Helper()
	args = append([]string{"--for", d.String(), "--seed", "23", "--parachute", parachute, "--dir", t.TempDir()}, args...)
	cmd := exec.CommandContext(t.Context(), build(t, "soak", ".", "."), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 2 * patience
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestSoakLosesNothingThatIsPromised(t *testing.T) {
	is := is.New(t)
	printed, code := shakeFor(t, 15*time.Second, build(t, "parachute", root, "./cmd/parachute"))
	t.Log(printed)
	is.Equal(code, 0)
	is.True(strings.Contains(printed, "clean: nothing failed that must not"))
}

func TestSoakNoticesThatDrainsDoNotWait(t *testing.T) {
	is := is.New(t)
	printed, code := shakeFor(t, time.Minute, build(t, "parachute-nodrain", root, "./cmd/parachute", "-tags", "nodrain"), "--until-fault")
	t.Log(printed)
	is.Equal(code, 1)
	is.True(strings.Contains(printed, "failed that must not:"))
	is.True(regexp.MustCompile(`unwelcome 504 draining|: cut 200|the target's connections were closed`).MatchString(printed)) // what a deploy had to wait for
}

func TestContractNamesWhereItStands(t *testing.T) {
	for _, c := range contract {
		t.Run(c.cause, func(t *testing.T) {
			is := is.New(t)
			file, heading, _ := strings.Cut(c.doc, "#")
			text, err := os.ReadFile(filepath.Join(root, file))
			is.NoErr(err)
			is.True(slices.Contains(anchors(string(text)), heading))
		})
	}
}

var noLetter = regexp.MustCompile(`[^a-z0-9 -]`)

// anchors returns the names by which the headings of a text can be linked to.
func anchors(text string) (all []string) {
	for line := range strings.Lines(text) {
		if level, title, ok := strings.Cut(line, " "); ok && strings.Trim(level, "#") == "" && level != "" {
			name := noLetter.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			all = append(all, strings.ReplaceAll(name, " ", "-"))
		}
	}
	return all
}

func TestFailureIsPutDownOnlyToWhatWasDoneToIt(t *testing.T) {
	is := is.New(t)
	begin := time.Now()
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	one, two := &instance{name: "web.1.1", address: "127.0.0.1:1"}, &instance{name: "web.1.2", address: "127.0.0.1:2"}
	l := &ledger{lines: make(map[string]logLine), disturbances: []*disturbance{
		{kind: targetKilled, service: web, instance: one, from: at(10), to: at(12)},
		{kind: stopped, service: web, from: at(20), to: at(22)},
		{kind: deployed, service: web, from: at(30), to: at(32)},
		{kind: proxyRestarted, from: at(40), to: at(42)},
		{kind: targetKilled, service: stored, instance: two, from: at(50), to: at(52)},
		{kind: proxyKilled, from: at(52), to: at(53)},
	}}
	cause := func(f failure, log logLine) string {
		f.nonce = "nonce"
		delete(l.lines, "nonce")
		if log != (logLine{}) {
			l.lines["nonce"] = log
		}
		l.failures = []failure{f}
		if c := l.judge()[0].clause; c != nil {
			return c.cause
		}
		return ""
	}
	of := func(service string, again bool, from int, status int, part, instance string) exchange {
		return exchange{service: service, again: again, began: at(from), status: status, part: part, instance: instance}
	}
	broken := logLine{Target: one.address}

	is.Equal(cause(failure{exchange: of(web, false, 9, 502, "", ""), ended: at(11), stage: refused}, broken), "target killed with a request that may not be sent twice")
	is.Equal(cause(failure{exchange: of(web, true, 9, 502, "", ""), ended: at(11), stage: refused}, broken), "")                        // it may be sent twice
	is.Equal(cause(failure{exchange: of(web, false, 9, 502, "", ""), ended: at(11), stage: refused}, logLine{Target: two.address}), "") // another target had it
	is.Equal(cause(failure{exchange: of(named, false, 9, 502, "", ""), ended: at(11), stage: refused}, broken), "")                     // another service
	is.Equal(cause(failure{exchange: of(web, false, 13, 502, "", ""), ended: at(14), stage: refused}, broken), "")                      // later
	is.Equal(cause(failure{exchange: of(web, true, 9, 200, "", one.name), ended: at(11), stage: answering}, logLine{}), "target killed while it answered")
	is.Equal(cause(failure{exchange: of(web, true, 9, 200, "", two.name), ended: at(11), stage: answering}, logLine{}), "") // another target answered
	is.Equal(cause(failure{exchange: of(web, true, 9, 200, "", one.name), ended: at(11), stage: checking}, logLine{}), "")  // nothing allows wrong content
	is.Equal(cause(failure{exchange: of(web, true, 20, 503, "stopped", ""), ended: at(21), stage: refused}, logLine{}), "the service was stopped")
	is.Equal(cause(failure{exchange: of(web, true, 20, 503, "draining", ""), ended: at(21), stage: refused}, logLine{}), "")
	is.Equal(cause(failure{exchange: of(web, true, 29, 200, "", ""), ended: at(31), stage: streaming, err: endedInOrder{}}, logLine{}), "stream ended by a deploy")
	is.Equal(cause(failure{exchange: of(web, true, 29, 200, "", ""), ended: at(31), stage: streaming, err: brokenStream{}}, logLine{}), "") // not as streams are ended
	is.Equal(cause(failure{exchange: of(web, true, 29, 200, "", ""), ended: at(31), stage: answering}, logLine{}), "")                      // no stream

	inTime, late := of(web, true, 39, 0, "", ""), of(web, true, 39, 0, "", "")
	inTime.sent, late.sent = at(39), at(41)
	is.Equal(cause(failure{exchange: inTime, ended: at(41), stage: asking}, logLine{}), "") // what was accepted before the signal is answered
	is.Equal(cause(failure{exchange: late, ended: at(41), stage: asking}, logLine{}), "proxy restarted, and was not there")
	is.Equal(cause(failure{exchange: inTime, ended: at(41), stage: answering}, logLine{}), "") // an answer is not cut

	// Lines of the last second are lost with a proxy that is killed.
	buffered := of(stored, true, 50, 502, "", "")
	is.Equal(cause(failure{exchange: buffered, ended: at(51), stage: refused}, logLine{Target: two.address}), "target killed while it answered")
	is.Equal(cause(failure{exchange: buffered, ended: at(51), stage: refused}, logLine{Target: one.address}), "")
	is.Equal(cause(failure{exchange: buffered, ended: at(51), stage: refused}, logLine{}), "target killed while it answered")
	is.Equal(cause(failure{exchange: buffered, ended: at(50), stage: refused}, logLine{}), "") // long before
}

func TestAnswerOfAReplacedTargetIsWrong(t *testing.T) {
	is := is.New(t)
	s := &service{standing: make(map[string]*standing)}
	old, fresh := &standing{instance: &instance{name: "old"}}, &standing{instance: &instance{name: "new"}}
	s.standing["old"], s.standing["new"] = old, fresh
	ask := func(by string) error { return s.answered(&exchange{instance: by, began: time.Now()}) }

	is.NoErr(ask("old"))
	s.switching([]*standing{fresh}, []*standing{old})
	is.NoErr(ask("old")) // nobody has seen the new one yet
	early := &exchange{instance: "old", began: time.Now()}
	is.NoErr(ask("new"))
	is.NoErr(s.answered(early)) // it began before
	is.True(ask("old") != nil)
	is.True(ask("somebody") != nil)
}
