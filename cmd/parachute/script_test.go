package main_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "have the scripts say what their commands print now")

// A script is a file of command lines and of what they print:
//
//	# A comment.
//	$ VARIABLE=value parachute deploy 'web' --target web-1:3000
//	web  web-1:3000  connecting ...
//	! parachute: what went to standard error
//	[1]
//
//	$ parachute run &
//	$ curl app1.example.com/path
//	200 web-1
//
// The last line is the exit code, if that is not 0. A command that ends in "&"
// goes on until the end of the script, which itself goes on when the proxy
// serves. Empty lines are left out of what is printed, gaps are two blanks wide,
// and what differs from one run to the next stands there as TIME, N, PID, DIR
// and VERSION.
//
// The targets are web-1, web-2 and web-3, which are well, sick, which answers
// probes with 503, and gone, where nothing listens. All have port 3000.
type script struct {
	launch  launcher
	env     environment
	dir     string            // of the control socket
	apps    map[string]string // addresses by name
	proxy   string            // address of the proxy that runs
	client  *http.Client
	replace *strings.Replacer
}

func TestScripts(t *testing.T) { runScripts(t, inProcess) }

// Two are left out, for a process costs more than what it is to do: what usage
// shows is said before there is anything to do, and each command of operate is
// among those of TestEveryCommandRunsWithTheBinary.
func TestScriptsWithTheBinary(t *testing.T) { runScripts(t, asBinary, "usage", "operate") }

// runScripts runs all scripts but some.
func runScripts(t *testing.T, launch launcher, but ...string) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if slices.Contains(but, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			newScript(t, launch).run(t, file, string(text))
		})
	}
}

func newScript(t *testing.T, launch launcher) *script {
	s := &script{launch: launch, env: newEnvironment(t), apps: make(map[string]string), client: newClient(t)}
	for _, name := range []string{"web-1", "web-2", "web-3"} {
		s.apps[name] = newApp(t, name).address
	}
	sick := newApp(t, "sick")
	sick.probe.Store(http.StatusServiceUnavailable)
	s.apps["sick"] = sick.address
	s.dir = filepath.Dir(s.env["PARACHUTE_SOCKET"])
	replacements := []string{s.dir, "DIR"}
	for name, address := range s.apps {
		replacements = append(replacements, address, name+":3000")
	}
	s.apps["gone"] = "127.0.0.1:9" // nobody uses discard (RFC 863) any more
	replacements = append(replacements, s.apps["gone"], "gone:3000")
	s.replace = strings.NewReplacer(replacements...)
	return s
}

func (s *script) run(t *testing.T, file, text string) {
	var rewritten []string
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		at := i
		command, ok := strings.CutPrefix(lines[at], "$ ")
		i++
		rewritten = append(rewritten, lines[at])
		if !ok {
			continue
		}
		for i < len(lines) && lines[i] != "" && !strings.HasPrefix(lines[i], "$ ") {
			i++
		}
		got, want := s.step(t, command), lines[at+1:i]
		if !*update && !slices.Equal(got, want) {
			t.Fatalf("%s:%d: %s\nprinted:\n%s\n\nwanted:\n%s", file, at+1, command, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		rewritten = append(rewritten, got...)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(rewritten, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var target = regexp.MustCompile(`\b(web-[123]|sick|gone):3000\b`)

// step runs one command and returns the lines that it printed.
func (s *script) step(t *testing.T, command string) []string {
	t.Helper()
	command = target.ReplaceAllStringFunc(command, func(name string) string {
		return s.apps[strings.TrimSuffix(name, ":3000")]
	})
	command = strings.ReplaceAll(command, "DIR", s.dir)
	words := words(command)
	env := s.env
	for name, value, ok := strings.Cut(words[0], "="); ok; name, value, ok = strings.Cut(words[0], "=") {
		env = env.with(environment{name: value})
		words = words[1:]
	}
	switch last := len(words) - 1; {
	case words[0] == "curl":
		host, path, _ := strings.Cut(words[1], "/")
		answer, err := get(s.client, s.proxy, host, "/"+path)
		if err != nil {
			t.Fatal(err)
		}
		return []string{answer}
	case words[0] != "parachute":
		t.Fatalf("%s: no such command", words[0])
	case words[last] == "&":
		_, s.proxy = startProxy(t, s.launch, env, words[2:last]...)
		return nil
	}
	p := s.launch(t, env, words[1:]...)
	code := p.wait(t)
	printed := p.stdout.String()
	for line := range strings.Lines(p.stderr.String()) {
		printed += "! " + line
	}
	if code != 0 {
		printed += fmt.Sprintf("[%d]\n", code)
	}
	return s.settle(printed)
}

// words splits a command at blanks that are not between single quotes.
func words(command string) []string {
	var all []string
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

var volatile = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`\b(done in|since|attempt would be in|healthy|healthy after) \d[^\s,:]*`), "$1 TIME"},
	{regexp.MustCompile(`(GET \S+ \d+|200) in \d\S*`), "$1 in TIME"},
	{regexp.MustCompile(`\d+ probes?, \S+ of`), "N probes, TIME of"},
	{regexp.MustCompile(`\d+ probes?\b`), "N probes"},
	{regexp.MustCompile(`pid \d+`), "pid PID"},
	{regexp.MustCompile(`parachute \S+ \((commit .*, )?go.*\)`), "parachute VERSION"},
	{regexp.MustCompile(`proxy \S+ \(pid PID\)`), "proxy VERSION (pid PID)"},
	{regexp.MustCompile(`(\S)  +`), "$1  "},
}

// settle makes what was printed comparable.
func (s *script) settle(printed string) (lines []string) {
	printed = s.replace.Replace(printed)
	for _, v := range volatile {
		printed = v.pattern.ReplaceAllString(printed, v.stands)
	}
	for line := range strings.SplitSeq(printed, "\n") {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
