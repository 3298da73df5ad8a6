package layout_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// seenBy are the packages that have a type called by a word of the glossary, which is the
// thing itself, or the thing as that package sees it.
func seenBy() map[string]string {
	return map[string]string{
		"service":     "internal/trial cmd/parachute/internal/page internal/e2e/soak",
		"deployment":  ".",
		"spec":        ".",
		"version":     ". internal/registry internal/routing internal/trial cmd/parachute/internal/control examples/demo", // the last two have the program's
		"rollout":     ".",
		"table":       ". internal/registry internal/routing",
		"claim":       "internal/hostname",
		"reservation": "internal/publish",
		"target":      ". internal/advice internal/endpoint internal/lanes internal/targets internal/trial cmd/parachute/internal/page internal/e2e/soak",
		"group":       ". internal/lanes internal/targets",
		"lane":        ". internal/lanes",
		"gate":        "internal/gate",
		"trial":       "internal/trial",
		"drain":       "cmd/parachute/internal/handover", // the message that asks for one
		"probe":       ". internal/advice",
		"exchange":    "internal/forward internal/healthcheck internal/http1 internal/upstream internal/e2e/soak",
		"rules":       "internal/answer internal/headers internal/networks internal/redirects internal/rules",
		"reason":      "internal/reason internal/upstream",
		"handover":    "cmd/parachute/internal/control",
		"predecessor": ".",
		"fleet":       "cmd/parachute/internal/control",
		"member":      "cmd/parachute/internal/control cmd/parachute/internal/fleet examples/demo",
		"record":      "cmd/parachute/internal/fleet",
		"proposal":    "cmd/parachute/internal/fleet",
		"batch":       "cmd/parachute/internal/fleet",
	}
}

// sayNothing are names that leave open what a type is, or what comes of a call.
func sayNothing() (types, funcs []string) {
	return []string{"conduct", "holding", "news", "roll", "story", "teller", "visit"},
		[]string{"as", "learn", "look", "renewed", "saw", "succeed", "with", "without"}
}

const (
	ruleWord = "a word of the glossary in CONTRIBUTING.md is the name of one thing: another thing is called otherwise, and another package that sees that thing is named in words_test.go"
	ruleName = "a name says what a type is, or what comes of a call, to those who have not seen the code"
)

func TestWordsOfTheGlossaryNameOneThing(t *testing.T) {
	is := is.New(t)
	words, err := glossary()
	is.NoErr(err)
	is.True(slices.Contains(words, "gate")) // the glossary was found
	types, _, err := declared()
	is.NoErr(err)
	for _, word := range words {
		allowed := strings.Fields(seenBy()[word])
		for _, dir := range types[word] {
			if !slices.Contains(allowed, dir) {
				t.Errorf("%s has a type called %s\n\trule: %s", dir, word, ruleWord)
			}
		}
		for _, dir := range allowed {
			if !slices.Contains(types[word], dir) {
				t.Errorf("words_test.go says that %s has a type called %s, and it has none", dir, word)
			}
		}
	}
	for word := range seenBy() {
		if !slices.Contains(words, word) {
			t.Errorf("words_test.go has %q, which the glossary of CONTRIBUTING.md has not", word)
		}
	}
}

func TestNamesSaySomething(t *testing.T) {
	is := is.New(t)
	types, funcs, err := declared()
	is.NoErr(err)
	ofTypes, ofFuncs := sayNothing()
	for _, name := range ofTypes {
		for _, dir := range types[name] {
			t.Errorf("%s has a type called %s\n\trule: %s", dir, name, ruleName)
		}
	}
	for _, name := range ofFuncs {
		for _, dir := range funcs[name] {
			t.Errorf("%s has a func called %s\n\trule: %s", dir, name, ruleName)
		}
	}
}

var glossaryRow = regexp.MustCompile(`(?m)^\| \*\*([a-z]+)\*\* `)

// glossary returns the words that CONTRIBUTING.md explains.
func glossary() (words []string, err error) {
	text, err := os.ReadFile(root + "/CONTRIBUTING.md")
	for _, match := range glossaryRow.FindAllStringSubmatch(string(text), -1) {
		words = append(words, match[1])
	}
	return words, err
}

// declared returns the packages that declare a type of a name, and those that declare a
// func or method that is not exported, by the name in lower case, tests aside.
func declared() (types, funcs map[string][]string, err error) {
	files, err := load()
	types, funcs = make(map[string][]string), make(map[string][]string)
	add := func(to map[string][]string, name, dir string) {
		if name = strings.ToLower(name); !slices.Contains(to[name], dir) {
			to[name] = append(to[name], dir)
		}
	}
	for _, f := range files {
		if f.isTest() {
			continue
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), f.path, f.source, parser.SkipObjectResolution)
		if err != nil {
			return nil, nil, err
		}
		for _, d := range syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if !d.Name.IsExported() {
					add(funcs, d.Name.Name, path.Dir(f.path))
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if s, ok := s.(*ast.TypeSpec); ok {
						add(types, s.Name.Name, path.Dir(f.path))
					}
				}
			}
		}
	}
	return types, funcs, err
}
