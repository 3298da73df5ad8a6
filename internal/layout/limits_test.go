package layout_test

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// notUsedUp are numbers that are called like limits, and why no client or target uses
// anything up there. What is for whoever deploys or runs the proxy is in other tables
// of docs/limits.md, if anywhere.
func notUsedUp() map[string]string {
	all := make(map[string]string)
	for why, names := range map[string]string{
		"files and values that whoever deploys has written": `credentials.maxFile credentials.maxName credentials.maxCost headers.maxPattern headers.maxProgram
			keypair.maxSize pages.maxSize pages.maxStatus trust.maxFile naming.maxLen sticky.maxName`,
		"what a command on the control socket uses": `control.maxBody control.queryTimeout control.dialTimeout control.maxPending control.finalWriteTimeout
			control.maxLogFollowers control.outcomeTimeout control.readHeaderTimeout control.bodyTimeout control.writeTimeout control.idleTimeout control.settledTimeout
			control.maxHeaderBytes control.lockTimeout control.maxRoom metrics.maxAttempted`,
		"what a bake compares with, and how long a step of a canary takes, which whoever deploys says": "bake.MaxSlowdown bake.MinRequests parachute.Step",
		"what another process of the proxy uses":                                                       "handover.ReadyTimeout handover.maxMessage control.successionTimeout control.maxAttempts server.allTimeout server.joinTimeout",
		"memory for the next request, which is taken from no one": `accesslog.maxPooled forward.maxPooledHeader pages.maxPooled http1.maxKeptFields http1.maxSpare
			upstream.maxKept http1.maxGap`,
		"how large a piece is": "socket.maxCallSize http1.maxPipes poller.maxEvents",
		"for how long something is kept, or how soon it is looked at, whoever comes": `socket.pipeIdleTimeout upstream.freshLimit upstream.lastLimit resolve.unknownLimit
			admission.KeepAllowed admission.KeepRefused admission.KeepFailed issuer.cacheTimeout issuer.lockTimeout`,
		"what a certificate authority and the servers of the DNS take for an order": `issuer.orderTimeout issuer.relinquishTimeout issuer.recordTimeout
			issuer.propagationTimeout issuer.partingTimeout issuer.maxSilent issuer.maxQuestionPause zone.queryTimeout zone.maxAliases zone.maxServers zone.maxDatagram`,
		"what a certificate is":           "issuer.maxRenewBefore issuer.maxCommonName",
		"the end of the proxy":            "accesslog.closeTimeout server.closeTimeout server.partingTimeout server.noticeTimeout",
		"what decides about health":       "ejection.MaxRefusals healthcheck.Rise healthcheck.Fall healthcheck.Interval resolve.Fall",
		"bits of a number":                "balance.weightMax bake.maxPut",
		"a port, permissions":             "parachute.HTTPSPort control.Mode",
		"what is remembered of deploys":   "parachute.KeepHistory",
		"how much of an answer is told":   "healthcheck.maxShown",
		"the clients' reads after writes": "parachute.WriterAffinity",
	} {
		for _, name := range strings.Fields(names) {
			all[name] = why
		}
	}
	return all
}

// A limit is a number in the code.
type limit struct {
	value      int64
	isDuration bool
	isKnown    bool // it could be computed here
}

// limitPackages are where clients and targets are served; the rest of the binary serves
// whoever runs it.
var limitPackages = []string{"accesslog", "control", "handover", "metrics", "server", "tcp"}

var limitName = regexp.MustCompile(`^[mM]ax[A-Z]|.(Limit|Timeout|Window|Max)$|^[mM]ax$`)

func TestDocumentsHaveEveryLimit(t *testing.T) {
	is := is.New(t)
	files, err := load()
	is.NoErr(err)
	code := limitsOf(t, files)
	is.True(len(code) > 50) // they were found
	for name, n := range map[string]int{"descriptors.Clients(1024)": descriptors.Clients(1024), "descriptors.Monitors(1024)": descriptors.Monitors(1024)} {
		code[name] = limit{value: int64(n), isKnown: true}
	}

	text, err := os.ReadFile(root + "/docs/limits.md")
	is.NoErr(err)
	_, rest, _ := strings.Cut(string(text), "\n## What can be used up\n")
	section, _, _ := strings.Cut(rest, "\n## ")
	named := make(map[string]bool)
	for row := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(row), "|")
		if len(cells) != 8 || strings.HasPrefix(row, "|-") || strings.Contains(cells[3], " limit ") {
			continue
		}
		names := codeName.FindAllString(cells[6], -1)
		if len(names) == 0 {
			t.Errorf("docs/limits.md does not say where the code has the limit of%s", cells[1])
		}
		for _, name := range names {
			name = strings.Trim(name, "`")
			named[name] = true
			l, ok := code[name]
			if !ok {
				t.Errorf("docs/limits.md has %s, and the code has not", name)
				continue
			}
			if spellings := l.spellings(); !slices.Contains(spellings, strings.TrimSpace(cells[3])) {
				t.Errorf("docs/limits.md has%sfor%s: %s is %s", cells[3], cells[1], name, strings.Join(spellings, " or "))
			}
		}
	}
	is.True(len(named) > 50) // the table was found
	exempt := notUsedUp()
	for name := range code {
		if !named[name] && exempt[name] == "" {
			t.Errorf("docs/limits.md has no row for %s in \"What can be used up\": add one, or say in notUsedUp why it is none", name)
		}
	}
	for name := range exempt {
		if _, ok := code[name]; !ok {
			t.Errorf("notUsedUp has %s, which is not in the code", name)
		}
	}
}

var codeName = regexp.MustCompile("`[a-z0-9]+\\.[A-Za-z()0-9]+`")

// spellings returns how l may be written in the table.
func (l limit) spellings() (all []string) {
	if !l.isKnown {
		return []string{"unknown"}
	}
	add := func(unit int64, suffix string) {
		if l.value%unit == 0 && l.value >= unit {
			all = append(all, fmt.Sprint(l.value/unit)+suffix)
		}
	}
	if l.isDuration {
		add(int64(time.Hour), " h")
		add(int64(time.Minute), " min")
		add(int64(time.Second), " s")
		add(int64(time.Millisecond), " ms")
		return all
	}
	add(1<<30, " GiB")
	add(1<<20, " MiB")
	add(1<<10, " KiB")
	add(1, "")
	add(1, " bytes")
	if l.value >= 10_000 && l.value%1000 == 0 {
		all = append(all, fmt.Sprintf("%d,000", l.value/1000))
	}
	if (l.value+1)%(1<<20) == 0 {
		all = append(all, fmt.Sprintf("%d MiB less a byte", (l.value+1)>>20))
	}
	return all
}

// limitsOf returns what may be limits: constants that are called so, and defaults of
// fields, cmp.Or(o.Field, 10*time.Second), by package and name.
func limitsOf(t *testing.T, files []file) map[string]limit {
	t.Helper()
	all := make(map[string]limit)
	for _, f := range files {
		pkg, ok := limitPackage(f)
		if !ok {
			continue
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), f.path, f.source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GenDecl:
				if n.Tok != token.CONST {
					break
				}
				for _, spec := range n.Specs {
					v := spec.(*ast.ValueSpec)
					for i, name := range v.Names {
						if i < len(v.Values) && limitName.MatchString(name.Name) && !isString(v.Values[i]) {
							all[pkg+"."+name.Name] = evaluate(v.Values[i])
						}
					}
				}
			case *ast.CallExpr:
				if len(n.Args) != 2 || !isCallOf(n, "Or", "limitOr") {
					break
				}
				if field, ok := n.Args[0].(*ast.SelectorExpr); ok {
					if l := evaluate(n.Args[1]); l.isKnown {
						all[pkg+"."+field.Sel.Name] = l
					}
				}
			case *ast.CompositeLit:
				if name, ok := n.Type.(*ast.Ident); ok && name.Name == "Timeouts" {
					for _, e := range n.Elts {
						if pair, ok := e.(*ast.KeyValueExpr); ok {
							if l := evaluate(pair.Value); l.isKnown {
								all[pkg+"."+pair.Key.(*ast.Ident).Name] = l
							}
						}
					}
				}
			}
			return true
		})
	}
	return all
}

// limitPackage returns the name of a file's package, if clients and targets are served
// there.
func limitPackage(f file) (pkg string, ok bool) {
	dir := path.Dir(f.path)
	switch {
	case f.isTest() || dir == "internal/proxytest" || within(dir, "internal/e2e"):
		return "", false
	case dir == ".":
		return "parachute", true
	case within(dir, "cmd/parachute/internal"):
		return path.Base(dir), slices.Contains(limitPackages, path.Base(dir))
	}
	return path.Base(dir), within(dir, "internal")
}

func isCallOf(call *ast.CallExpr, names ...string) bool {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		return slices.Contains(names, f.Sel.Name)
	case *ast.Ident:
		return slices.Contains(names, f.Name)
	}
	return false
}

func isString(e ast.Expr) bool {
	literal, ok := e.(*ast.BasicLit)
	return ok && literal.Kind == token.STRING
}

// evaluate computes a number from numbers and the units of package time.
func evaluate(e ast.Expr) limit {
	isDuration := false
	var value func(e ast.Expr) constant.Value
	value = func(e ast.Expr) constant.Value {
		switch e := e.(type) {
		case *ast.BasicLit:
			if e.Kind == token.INT {
				return constant.MakeFromLiteral(e.Value, token.INT, 0)
			}
		case *ast.ParenExpr:
			return value(e.X)
		case *ast.SelectorExpr:
			unit, ok := map[string]time.Duration{"Hour": time.Hour, "Minute": time.Minute, "Second": time.Second, "Millisecond": time.Millisecond, "Microsecond": time.Microsecond}[e.Sel.Name]
			if pkg, isName := e.X.(*ast.Ident); ok && isName && pkg.Name == "time" {
				isDuration = true
				return constant.MakeInt64(int64(unit))
			}
		case *ast.BinaryExpr:
			x, y := value(e.X), value(e.Y)
			if x.Kind() != constant.Int || y.Kind() != constant.Int {
				break
			}
			if e.Op == token.SHL {
				n, _ := constant.Uint64Val(y)
				return constant.Shift(x, token.SHL, uint(n))
			}
			return constant.BinaryOp(x, e.Op, y)
		}
		return constant.MakeUnknown()
	}
	v := value(e)
	n, exact := constant.Int64Val(constant.ToInt(v))
	return limit{n, isDuration, v.Kind() == constant.Int && exact}
}
