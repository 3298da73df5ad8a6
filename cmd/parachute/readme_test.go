package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// documents returns the README and what is in docs/, by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	is := is.New(t)
	names, err := filepath.Glob("../../docs/*.md")
	is.NoErr(err)
	is.True(len(names) > 0) // the folder was found
	texts := make(map[string]string)
	for _, name := range append(names, "../../README.md") {
		text, err := os.ReadFile(name)
		is.NoErr(err)
		texts[strings.TrimPrefix(filepath.ToSlash(name), "../../")] = string(text)
	}
	return texts
}

func TestDocumentsHaveEveryFlagAndEveryVariable(t *testing.T) {
	var all strings.Builder
	for _, text := range documents(t) {
		all.WriteString(text)
	}
	for command := range commands(t) {
		for _, flag := range command.Flags {
			for _, name := range append(variables(flag.Value), "`--"+flag.Name) {
				if !strings.Contains(all.String(), name) {
					t.Errorf("neither README.md nor docs/ tells of %s of %s", name, command.Path())
				}
			}
		}
	}
}

var flagName = regexp.MustCompile("(?:^|[\\s`(])--([a-z0-9.][a-z0-9.-]*)")

func TestDocumentsNameOnlyFlagsThatThereAre(t *testing.T) {
	known := map[string]bool{"help": true}
	for _, of := range []string{
		"build", "volumes", "name", "stop-timeout", "ulimit", "network", // docker
		"unix-socket", "http2-prior-knowledge", // curl
		"prefix",       // etcdctl
		"system",       // useradd
		"now",          // systemctl
		"port",         // examples/backend
		"max-requests", // gunicorn
	} {
		known[of] = true
	}
	for command := range commands(t) {
		for _, flag := range command.Flags {
			known[flag.Name] = true
		}
	}
	for name, text := range documents(t) {
		for _, match := range flagName.FindAllStringSubmatch(text, -1) {
			family, isFamily := strings.CutSuffix(match[1], "...")
			if !known[strings.TrimRight(match[1], ".")] && !(isFamily && startsOne(known, family)) {
				t.Errorf("%s tells of --%s, which no command has", name, match[1])
			}
		}
	}
}

// startsOne reports whether one of names begins so, as in --tls-...
func startsOne(names map[string]bool, prefix string) bool {
	for name := range names {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// linked finds the targets of links to files of ours, and to headings.
var linked = regexp.MustCompile(`\]\(([^):#]*)(?:#([^)]*))?\)`)

func TestLinksBetweenDocumentsLeadSomewhere(t *testing.T) {
	texts := documents(t)
	for name, text := range texts {
		for _, match := range linked.FindAllStringSubmatch(text, -1) {
			to := name
			if match[1] != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(name), match[1]))
			}
			if _, err := os.Stat("../../" + to); err != nil {
				t.Errorf("%s: a link leads to %s, which is not there", name, to)
			}
			if match[2] != "" && !headings(texts[to])[match[2]] {
				t.Errorf("%s: a link leads to %s#%s, a heading which is not there", name, to, match[2])
			}
		}
	}
}

// headings returns how links name the headings of a text.
func headings(text string) map[string]bool {
	found := make(map[string]bool)
	for line := range strings.Lines(text) {
		if title := strings.TrimLeft(line, "#"); title != line {
			title = strings.ToLower(strings.TrimSpace(title))
			title = strings.Map(func(r rune) rune {
				if strings.ContainsRune(",.:`()'/", r) {
					return -1
				}
				return r
			}, title)
			found[strings.ReplaceAll(title, " ", "-")] = true
		}
	}
	return found
}

func TestDocumentsHaveEveryFieldOfJSON(t *testing.T) {
	text := documents(t)["docs/json.md"]
	for _, v := range []any{
		parachute.Status{}, parachute.Certificate{}, parachute.ConflictError{}, parachute.UnhealthyError{}, parachute.TakenBackError{},
		control.Result{}, control.Version{},
	} {
		for _, field := range jsonFields(reflect.TypeOf(v)) {
			if !strings.Contains(text, "`"+field+"`") && !strings.Contains(text, `"`+field+`":`) {
				t.Errorf("docs/json.md does not tell of %q of %T", field, v)
			}
		}
	}
}

// jsonFields returns the names that the fields of a type have in JSON, and
// those of the types below.
func jsonFields(typ reflect.Type) []string {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice:
		return jsonFields(typ.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	var names []string
	for field := range typ.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(append(names, name), jsonFields(field.Type)...)
		}
	}
	return names
}

func TestDocumentsHaveEveryMetric(t *testing.T) {
	is := is.New(t)
	source, err := os.ReadFile("internal/metrics/collect.go")
	is.NoErr(err)
	metrics := regexp.MustCompile(`describe\("([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
	is.True(len(metrics) > 0) // they were found
	text := documents(t)["docs/metrics.md"]
	for _, match := range metrics {
		if !strings.Contains(text, "`parachute_"+match[1]+"`") {
			t.Errorf("docs/metrics.md does not tell of parachute_%s", match[1])
		}
	}
}

func TestDocumentsHaveEveryEvent(t *testing.T) {
	is := is.New(t)
	all := documents(t)
	for file, pages := range map[string][]string{
		"../../parachute.go":        {"docs/json.md", "docs/metrics.md"}, // whose events are logged as well
		"internal/control/fleet.go": {"docs/json.md"},
	} {
		source, err := os.ReadFile(file)
		is.NoErr(err)
		kinds := regexp.MustCompile(`EventKind += "([a-z ]+)"`).FindAllStringSubmatch(string(source), -1)
		is.True(len(kinds) > 0) // they were found
		for _, page := range pages {
			for _, kind := range kinds {
				if !strings.Contains(all[page], "`"+kind[1]+"`") {
					t.Errorf("%s does not tell of the event %q", page, kind[1])
				}
			}
		}
	}
}

func TestDocumentsHaveEveryCodeOfAnError(t *testing.T) {
	is := is.New(t)
	source, err := os.ReadFile("internal/control/codes.go")
	is.NoErr(err)
	codes := regexp.MustCompile(`(?:\t\t\{|code[A-Z]\w+ += )"([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
	is.True(len(codes) > 15) // they were found, those of the constants too
	text := documents(t)["docs/json.md"]
	for _, code := range codes {
		if !strings.Contains(text, "`"+code[1]+"`") {
			t.Errorf("docs/json.md does not tell of the code %q", code[1])
		}
	}
}

func TestDocumentsHaveEveryRoute(t *testing.T) {
	is := is.New(t)
	source, err := os.ReadFile("internal/control/server.go")
	is.NoErr(err)
	routes := regexp.MustCompile(`\{"([A-Z]+)", "(/v1/[^"]+)"`).FindAllStringSubmatch(string(source), -1)
	is.True(len(routes) > 20) // they were found
	text := documents(t)["docs/json.md"]
	for _, route := range routes {
		told := "`" + route[1] + " " + strings.ReplaceAll(route[2], "{name}", "NAME")
		isOwn := route[2] == "/v1/successor" // one process of a proxy asks another
		if !isOwn && !strings.Contains(text, told+"`") && !strings.Contains(text, told+"?") {
			t.Errorf("docs/json.md does not tell of %s %s", route[1], route[2])
		}
	}
}
