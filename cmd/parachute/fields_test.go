package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// textsOfLibrary returns the strings in the code of the library and of what it
// stands on, by where they are. Errors and hints are made of them.
func textsOfLibrary(t *testing.T) map[string]string {
	t.Helper()
	is := is.New(t)
	files, err := filepath.Glob("../../*.go")
	is.NoErr(err)
	more, err := filepath.Glob("../../internal/*/*.go")
	is.NoErr(err)
	texts := make(map[string]string)
	set := token.NewFileSet()
	for _, name := range append(files, more...) {
		if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/proxytest/") {
			continue // for tests alone
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		is.NoErr(err)
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				is.NoErr(err)
				texts[set.Position(lit.Pos()).String()] = text
			}
			return true
		})
	}
	is.True(len(texts) > 1000) // the code was found
	return texts
}

// hasMember reports whether a name such as HealthCheck.Path is a field of a Status,
// a Deployment, a type that this is made of, or ACME, or a method of the Proxy.
func hasMember(name string) bool {
	typ, member, _ := strings.Cut(name, ".")
	if typ == "Proxy" {
		_, ok := reflect.TypeFor[*parachute.Proxy]().MethodByName(member)
		return ok
	}
	for _, of := range append(reflect.VisibleFields(reflect.TypeFor[parachute.Deployment]()),
		reflect.StructField{Type: reflect.TypeFor[parachute.Deployment]()}, reflect.StructField{Type: reflect.TypeFor[parachute.Status]()},
		reflect.StructField{Type: reflect.TypeFor[parachute.ACME]()}) {
		if of.Type.Kind() == reflect.Struct && of.Type.Name() == typ {
			if _, ok := of.Type.FieldByName(member); ok {
				return true
			}
		}
	}
	return false
}

func TestEveryFieldInAHintHasAFlag(t *testing.T) {
	is := is.New(t)
	names, used := flags(), 0
	for at, text := range textsOfLibrary(t) {
		for _, found := range nameOfLibrary.FindAllStringSubmatch(text, -1) {
			if !hasMember(found[1]) {
				continue
			}
			used++
			if names[found[1]] == "" {
				t.Errorf("%s: the table in fields.go has no flag for %s", at, found[1])
			}
		}
	}
	is.True(used > 10) // hints speak of fields
}

func TestHintsOfTheLibraryNameNoFlags(t *testing.T) {
	ours := make(map[string]bool)
	for command := range commands(t) {
		for _, flag := range command.Flags {
			ours[flag.Name] = true
		}
	}
	for at, text := range textsOfLibrary(t) {
		for _, found := range regexp.MustCompile(`--([a-z][a-z0-9-]*)`).FindAllStringSubmatch(text, -1) {
			if ours[found[1]] {
				t.Errorf("%s: whoever uses the library has no --%s: name the field", at, found[1])
			}
		}
	}
}

func TestTableOfFlagsHasOnlyWhatThereIs(t *testing.T) {
	is := is.New(t)
	known := make(map[string]bool)
	for command := range commands(t) {
		for _, flag := range append([]string{""}, flagsOf(command)...) {
			known["parachute "+commandPath(command)+flag] = true
		}
		if command.Name != "deploy" {
			continue
		}
		for _, flag := range command.Flags {
			known["--"+flag.Name] = true
			if flag.Tag.Negatable != "" {
				known["--no-"+flag.Name] = true
			}
		}
	}
	for member, flag := range flags() {
		if !hasMember(member) {
			t.Errorf("the library has no %s", member)
		}
		for flag := range strings.SplitSeq(flag, " or ") {
			if !known[flag] {
				t.Errorf("there is no %s for %s", flag, member)
			}
		}
	}
	is.True(len(known) > 50) // the grammar was read
}

// flagsOf returns the flags of a command as they stand behind it.
func flagsOf(command *kong.Node) (all []string) {
	for _, flag := range command.Flags {
		all = append(all, " --"+flag.Name)
	}
	return all
}

func TestHintsSpeakOfFlags(t *testing.T) {
	is := is.New(t)
	is.Equal(withFlags("name another with HealthCheck.Path, or with Timeouts.Deploy."), "name another with --health-check-path, or with --deploy-timeout.")
	is.Equal(withFlags(`Proxy.Remove("a\"b") frees it`), `parachute remove 'a"b' frees it`)
	is.Equal(withFlags(`Proxy.Remove("my 'old' shop") frees it`), `parachute remove 'my '\''old'\'' shop' frees it`)
	for _, text := range []string{"", "Path", "app.HealthCheck.Pathname", "HealthCheck.Nothing", "MyHealthCheck.Path"} {
		is.Equal(withFlags(text), text) // is nothing of the library's
	}
	conflict := &parachute.ConflictError{Host: "a.test", Owner: "web"}
	err := flagError{fmt.Errorf("deploy: %w", conflict)}
	is.True(errors.Is(err, parachute.ErrConflict))
	is.Equal(fmt.Sprintf("%+v", flagError{conflict}), conflict.Error()+"\n  parachute list shows the hosts of every service; parachute remove web frees those of that one")
	is.Equal(fmt.Sprintf("%v|%s|%q", err, err, err), fmt.Sprintf("%v|%s|%q", err.error, err.error, err.error))
}
