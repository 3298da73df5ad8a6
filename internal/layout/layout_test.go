package layout_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"
)

const (
	module = "github.com/shahnk19/parachute"
	root   = "../.." // as seen from this package
	shared = module + "/cmd/parachute/internal/kv"
)

// The house has four floors, and imports point down: cmd/parachute, then
// cmd/parachute/internal, then the root, then internal.
const (
	ruleMechanism = "internal/* stands on the standard library and golang.org/x, and of each other only on leaves, which import nothing of ours; the assemblies alone stand on mechanisms"
	ruleAssembly  = "only the root, tests, and the assemblies that are named after it import an assembly"
	ruleRoot      = "the root stands on the standard library, golang.org/x/crypto, golang.org/x/net/idna and internal/*: an embedder pulls in nothing else"
	ruleBinary    = "cmd/parachute/internal/* stands on the root, leaves of internal, and what it needs from outside, never on each other; server alone assembles the others, and kv, which says what a store can do, is for all"
	ruleCommand   = "cmd/parachute stands on cmd/parachute/internal/*, the root and internal/*"
	ruleEmbedder  = "examples and internal/e2e stand on the root and what they need from outside, as any embedder does; tests may import internal/proxytest"
	ruleEndToEnd  = "nobody imports internal/e2e, which is a module of its own"
	ruleKong      = "only cmd/parachute imports kong"
	ruleTestsOnly = "only tests import internal/proxytest and kvtest; the soak is one"
	rulePlace     = "packages live at the root and in cmd/parachute, cmd/parachute/internal, internal and examples"
	ruleRootFiles = "the root's Go files are seven: a new mechanism is a package under internal/"
	ruleEntries   = "nothing lies beside the root's Go files but what is named in layout_test.go"
	ruleSize      = "a file at the root has at most 800 lines, and every other at most 500: what is longer has a second subject, which can move out"
	ruleAllocat   = "a test under //go:build !race has Allocat in its name: make test runs no other without the race detector"
)

// rootFiles are the Go files of the root, tests aside.
var rootFiles = []string{
	"healthcheck.go", "options.go", "parachute.go", "router.go", "service.go", "target.go", "tls.go",
}

// assemblies put several mechanisms together, where the root would have to. They know
// nothing of services, and nobody stands on them but the root and the assemblies behind
// them in this list: a mechanism that another needs a part of has that part in a leaf.
var assemblies = []string{"internal/backend", "internal/registry", "internal/rules", "internal/targets"}

// entries are what else may lie there.
var entries = []string{
	"examples", "cmd", "internal", "docs", "go.mod", "go.sum", "Makefile",
	"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
	"Dockerfile", "compose.yaml", ".dockerignore", ".gitignore", ".golangci.yml", ".github", ".ci",
}

func TestImportsPointDown(t *testing.T) {
	is := is.New(t)
	files, err := load()
	is.NoErr(err)
	is.True(len(files) > 0) // the tree was found
	leaves := leavesOf(files)
	is.True(leaves[module+"/internal/field"]) // one that others import
	for _, f := range files {
		for _, imp := range f.imports {
			if rule := broken(path.Dir(f.path), imp, f.isTest(), leaves[imp]); rule != "" {
				t.Errorf("%s imports %s\n\trule: %s", f.path, imp, rule)
			}
		}
	}
}

func TestRootHoldsOnlyWhatIsNamed(t *testing.T) {
	is := is.New(t)
	dir, err := os.ReadDir(root)
	is.NoErr(err)
	for _, entry := range dir {
		if rule := misplaced(entry.Name()); rule != "" {
			t.Errorf("%s\n\trule: %s", entry.Name(), rule)
		}
	}
}

// What an embedder gets is more than what the root imports itself.
func TestEmbedderPullsInOnlyGolangOrgX(t *testing.T) {
	is := is.New(t)
	list := exec.Command("go", "list", "-deps", ".")
	list.Dir = root
	list.Stderr = os.Stderr
	out, err := list.Output()
	is.NoErr(err)
	deps := strings.Fields(string(out))
	is.True(slices.Contains(deps, module)) // the list is the root's
	for _, dep := range deps {
		if foreign(dep) {
			t.Errorf("the root pulls in %s\n\trule: %s", dep, ruleRoot)
		}
	}
}

func TestAllocationClaimsAreRun(t *testing.T) {
	is := is.New(t)
	files, err := load()
	is.NoErr(err)
	for _, f := range files {
		for _, name := range unrunClaims(f.source) {
			t.Errorf("%s: %s\n\trule: %s", f.path, name, ruleAllocat)
		}
	}
}

func TestFilesAreNoLongerThanOneSubjectTakes(t *testing.T) {
	is := is.New(t)
	files, err := load()
	is.NoErr(err)
	for _, f := range files {
		if lines := strings.Count(f.source, "\n"); lines > mostLines(f.path) {
			t.Errorf("%s has %d lines\n\trule: %s", f.path, lines, ruleSize)
		}
	}
}

// mostLines returns how many lines a Go file may have.
func mostLines(name string) int {
	if path.Dir(name) == "." {
		return 800
	}
	return 500
}

// A file is a Go file of the module.
type file struct {
	path    string // below the root, with slashes
	source  string
	imports []string // whatever its build tags say
}

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// load returns all Go files of the repository, those of internal/e2e among
// them, except what the go command ignores.
func load() ([]file, error) {
	var files []file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == root:
			return err
		case d.IsDir():
			if strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		case filepath.Ext(name) != ".go":
			return nil
		}
		f, err := read(name)
		if err == nil {
			files = append(files, f)
		}
		return err
	})
	return files, err
}

func read(name string) (file, error) {
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return file{}, err
	}
	source, err := os.ReadFile(name)
	if err != nil {
		return file{}, err
	}
	syntax, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
	if err != nil {
		return file{}, err
	}
	f := file{path: filepath.ToSlash(rel), source: string(source)}
	for _, spec := range syntax.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, fmt.Errorf("%s: %w", name, err)
		}
		f.imports = append(f.imports, imp)
	}
	return f, nil
}

// leavesOf returns the packages below internal that import nothing of ours,
// tests aside.
func leavesOf(files []file) map[string]bool {
	leaves := make(map[string]bool)
	for _, f := range files {
		if dir := path.Dir(f.path); within(dir, "internal") && !f.isTest() {
			leaves[module+"/"+dir] = true
		}
	}
	for _, f := range files {
		isOurs := func(imp string) bool { return within(imp, module) }
		if !f.isTest() && slices.ContainsFunc(f.imports, isOurs) {
			delete(leaves, module+"/"+path.Dir(f.path))
		}
	}
	return leaves
}

// broken returns the rule that is broken when a file in dir imports imp, which
// may be a leaf, or "".
func broken(dir, imp string, test, leaf bool) string {
	switch {
	case within(imp, "github.com/alecthomas/kong") && dir != "cmd/parachute":
		return ruleKong
	case (within(imp, module+"/internal/proxytest") || within(imp, shared+"/kvtest")) && !test && dir != "internal/e2e/soak":
		return ruleTestsOnly
	case within(imp, module+"/internal/e2e"):
		return ruleEndToEnd
	case !test && dir != "." && !mayAssemble(dir, strings.TrimPrefix(imp, module+"/")):
		return ruleAssembly
	}
	switch {
	case within(dir, "examples"), within(dir, "internal/e2e"):
		return unless(!within(imp, module) || imp == module || within(imp, module+"/internal/proxytest"), ruleEmbedder)
	case dir == "cmd/parachute":
		return unless(!within(imp, module+"/examples"), ruleCommand)
	case within(dir, "cmd/parachute/internal"):
		return unless(test || leaf || mayBinary(dir, imp), ruleBinary)
	case dir == ".":
		return unless(test || mayRoot(imp), ruleRoot)
	case within(dir, "internal"):
		// proxytest is for tests, and serves with what they test.
		return unless(test || leaf || standard(imp) || within(imp, "golang.org/x") ||
			isAssembly(dir) && within(imp, module+"/internal") ||
			dir == "internal/proxytest" && imp == module+"/internal/http1", ruleMechanism)
	}
	return rulePlace
}

func isAssembly(dir string) bool { return slices.Contains(assemblies, dir) }

// mayAssemble reports whether imp is no assembly, or one that dir may stand on, since it
// is one behind it.
func mayAssemble(dir, imp string) bool {
	return !isAssembly(imp) || slices.Index(assemblies, dir) > slices.Index(assemblies, imp)
}

func mayBinary(dir, imp string) bool {
	if !within(imp, module) || imp == module || imp == shared {
		return true
	}
	return within(dir, "cmd/parachute/internal/server") &&
		(within(imp, module+"/cmd/parachute/internal") || imp == module+"/internal/http1")
}

func mayRoot(imp string) bool {
	return standard(imp) ||
		within(imp, "golang.org/x/crypto") ||
		imp == "golang.org/x/net/idna" ||
		within(imp, module+"/internal")
}

func unless(ok bool, rule string) string {
	if ok {
		return ""
	}
	return rule
}

// misplaced returns the rule that is broken when name lies in the root
// directory, or "".
func misplaced(name string) string {
	switch {
	case name == "bin" || name == ".git" || slices.Contains(entries, name):
		return ""
	case strings.HasSuffix(name, "_test.go") || slices.Contains(rootFiles, name):
		return ""
	case strings.HasSuffix(name, ".go"):
		return ruleRootFiles
	}
	return ruleEntries
}

// foreign reports whether an embedder would not expect to depend on dep.
func foreign(dep string) bool {
	return !standard(dep) && !within(dep, "golang.org/x") && !within(dep, module)
}

var (
	notUnderRace = regexp.MustCompile(`(?m)^//go:build .*!race\b`)
	testFunc     = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)`)
)

// unrunClaims returns the tests of a file that neither pass of make test runs.
func unrunClaims(source string) []string {
	if !notUnderRace.MatchString(source) {
		return nil
	}
	var names []string
	for _, match := range testFunc.FindAllStringSubmatch(source, -1) {
		if !strings.Contains(match[1], "Allocat") {
			names = append(names, match[1])
		}
	}
	return names
}

// standard reports whether imp is of the standard library: no other import
// path may begin with an element that has no dot.
func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

// within reports whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir+"/")
}

func TestEachImportRuleCanBeBroken(t *testing.T) {
	const ours, kong = module + "/", "github.com/alecthomas/kong"
	tests := []struct {
		dir, imp string
		test     bool
		want     string
	}{
		{"internal/gate", "sync/atomic", false, ""},
		{"internal/tls", "golang.org/x/crypto/acme", false, ""},
		{"internal/hostname", "golang.org/x/net/idna", false, ""},
		{"internal/gate", "golang.org.example/x/net", false, ruleMechanism},
		{"internal/gate", "github.com/gofrs/flock", false, ruleMechanism},
		{"internal/forward", ours + "internal/upstream", false, ruleMechanism},
		{"internal/forward", ours + "internal/upstream", true, ""},
		{"internal/forward/deep", ours + "internal/gate", false, ruleMechanism},
		{"internal/gate", module, false, ruleMechanism},
		{"internal/proxytest", ours + "internal/gate", false, ruleMechanism},
		{"internal/forward", ours + "internal/field", false, ""},
		{"internal/rules", ours + "internal/pages", false, ""},
		{"internal/rules", module, false, ruleMechanism},
		{".", ours + "internal/rules", false, ""},
		{"internal/gate", ours + "internal/rules", false, ruleAssembly},
		{"cmd/parachute", ours + "internal/rules", false, ruleAssembly},
		{"internal/targets", ours + "internal/backend", false, ""},
		{"internal/backend", ours + "internal/targets", false, ruleAssembly},
		{"internal/gate", ours + "internal/proxytest", false, ruleTestsOnly},
		{"internal/gate", ours + "internal/proxytest", true, ""},

		{".", "net/http", false, ""},
		{".", ours + "internal/gate", false, ""},
		{".", "golang.org/x/crypto/acme/autocert", false, ""},
		{".", "golang.org/x/net/idna", false, ""},
		{".", "golang.org/x/net/http2", false, ruleRoot},
		{".", "github.com/google/renameio/v2", false, ruleRoot},
		{".", ours + "cmd/parachute/internal/state", false, ruleRoot},
		{".", "github.com/matryer/is", true, ""},
		{".", ours + "internal/proxytest", false, ruleTestsOnly},
		{".", ours + "internal/proxytest", true, ""},

		{"cmd/parachute/internal/state", module, false, ""},
		{"cmd/parachute/internal/state", "github.com/google/renameio/v2", false, ""},
		{"cmd/parachute/internal/state", ours + "internal/gate", false, ruleBinary},
		{"cmd/parachute/internal/state", ours + "internal/field", false, ""},
		{"cmd/parachute/internal/state", ours + "cmd/parachute/internal/control", false, ruleBinary},
		{"cmd/parachute/internal/state", ours + "cmd/parachute/internal/kv", false, ""},
		{"cmd/parachute/internal/state", ours + "cmd/parachute/internal/kv/kvtest", false, ruleTestsOnly},
		{"cmd/parachute/internal/state", ours + "cmd/parachute/internal/kv/kvtest", true, ""},
		{"cmd/parachute/internal/state", ours + "cmd/parachute/internal/control", true, ""},
		{"cmd/parachute/internal/server", ours + "cmd/parachute/internal/control", false, ""},
		{"cmd/parachute/internal/server", ours + "internal/gate", false, ruleBinary},
		{"cmd/parachute/internal/server", kong, false, ruleKong},

		{"cmd/parachute", kong, false, ""},
		{"cmd/parachute", module, false, ""},
		{"cmd/parachute", ours + "cmd/parachute/internal/server", false, ""},
		{"cmd/parachute", ours + "examples/backend", false, ruleCommand},
		{"cmd/parachute", ours + "internal/proxytest", false, ruleTestsOnly},

		{"examples/embed", module, false, ""},
		{"examples/embed", "github.com/google/renameio/v2", false, ""},
		{"examples/embed", ours + "internal/gate", false, ruleEmbedder},
		{"examples/demo", ours + "internal/gate", true, ruleEmbedder},
		{"examples/embed", kong, false, ruleKong},
		{"internal/e2e", ours + "internal/gate", false, ruleEmbedder},
		{"internal/e2e", "github.com/quic-go/quic-go", true, ""},
		{"internal/e2e", ours + "internal/proxytest", true, ""},
		{"internal/e2e", ours + "internal/proxytest", false, ruleTestsOnly},
		{"internal/e2e/soak", ours + "internal/proxytest", false, ""},
		{"internal/e2e/soak", ours + "internal/gate", false, ruleEmbedder},
		{"internal/gate", ours + "internal/e2e", true, ruleEndToEnd},

		{"pkg/extra", "fmt", false, rulePlace},
		{"cmd/other", "fmt", false, rulePlace},
		{"docs", "fmt", false, rulePlace},
	}
	for _, tt := range tests {
		t.Run(tt.dir+" "+tt.imp, func(t *testing.T) {
			is := is.New(t)
			is.Equal(broken(tt.dir, tt.imp, tt.test, tt.imp == ours+"internal/field"), tt.want)
		})
	}
}

func TestStrangersAtTheRootAreNamed(t *testing.T) {
	tests := []struct{ name, want string }{
		{"router.go", ""},
		{"router_test.go", ""},
		{"README.md", ""},
		{"bin", ""},
		{"rollout.go", ruleRootFiles},
		{"doc.go", ruleRootFiles},
		{"pkg", ruleEntries},
		{"notes.txt", ruleEntries},
		{"config.yaml", ruleEntries},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(misplaced(tt.name), tt.want)
		})
	}
}

func TestForeignDependenciesAreSeen(t *testing.T) {
	is := is.New(t)
	is.True(!foreign("net/http"))
	is.True(!foreign("vendor/golang.org/x/net/idna")) // the standard library's own copy
	is.True(!foreign("golang.org/x/text/unicode/norm"))
	is.True(!foreign(module + "/internal/gate"))
	is.True(foreign("github.com/gofrs/flock"))
	is.True(foreign(module + "-extras/x")) // another module with a longer name
}

func TestAllocationClaimsThatNobodyRunsAreSeen(t *testing.T) {
	is := is.New(t)
	const body = "package x\nfunc TestLookupAllocatesNothing(t *testing.T) {}\nfunc TestLookupIsFree(t *testing.T) {}\n"
	is.Equal(unrunClaims(body), nil) // the first pass runs them
	is.Equal(unrunClaims("//go:build !race\n\n"+body), []string{"TestLookupIsFree"})
	is.Equal(unrunClaims("//go:build linux && !race\n\n"+body), []string{"TestLookupIsFree"})
}

func TestLeavesImportNothingOfOurs(t *testing.T) {
	is := is.New(t)
	leaves := leavesOf([]file{
		{path: "internal/field/field.go", imports: []string{"strings"}},
		{path: "internal/field/field_test.go", imports: []string{module + "/internal/proxytest"}}, // a test may
		{path: "internal/forward/header.go", imports: []string{"net/http"}},
		{path: "internal/forward/body.go", imports: []string{module + "/internal/field"}},
		{path: "router.go"},
	})
	is.Equal(leaves, map[string]bool{module + "/internal/field": true})
}

// A row of docs/cases.md names, in its last column, the tests of the case.
func TestCasesNameTestsThatThereAre(t *testing.T) {
	is := is.New(t)
	text, err := os.ReadFile(root + "/docs/cases.md")
	is.NoErr(err)
	files, err := load()
	is.NoErr(err)
	there := make(map[string]bool)
	for _, f := range files {
		for _, match := range testFunc.FindAllStringSubmatch(f.source, -1) {
			there[match[1]] = true
		}
	}
	named := 0
	for row := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(row), "|"), "|")
		if len(cells) != 3 || !strings.HasPrefix(row, "|") || strings.HasPrefix(row, "|--") || strings.TrimSpace(cells[2]) == "test" {
			continue
		}
		names := testName.FindAllString(cells[2], -1)
		if named += len(names); len(names) == 0 {
			t.Errorf("docs/cases.md names no test of %s", cells[0])
		}
		for _, name := range names {
			if !there[name] {
				t.Errorf("docs/cases.md names %s, which is no test", name)
			}
		}
	}
	is.True(named > 0) // the rows were found
}

var testName = regexp.MustCompile(`\b(Test|Fuzz)\w+`)
