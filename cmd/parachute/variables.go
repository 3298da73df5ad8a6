package main

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// kamalPrefix begins the names of kamal-proxy's own variables.
const kamalPrefix = "KAMAL_PROXY_"

// isKamalProxy reports whether a program is called by kamal-proxy's name, as Kamal
// does it.
func isKamalProxy(program string) bool { return filepath.Base(program) == "kamal-proxy" }

// kamalVariable returns the variable from which kamal-proxy reads a flag that it has
// too, or "".
func kamalVariable(v *kong.Value) string {
	switch v.Name {
	case "http-port", "https-port", "metrics-port", "debug", "socket":
		return kamalPrefix + upperCase(v.Name)
	}
	return ""
}

// upperCase returns the name of a flag as variables have it.
func upperCase(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// checkNames looks at the names in the environment, of which Resolve knows only those
// that are right. It returns a usageError for one that is nearly that of a variable
// of the command, and notes others that might be meant for the proxy, to be warned of.
func (e *environ) checkNames(command *kong.Node) error {
	own := variablesOf(command)
	known := variablesOf(root(command))
	for _, name := range e.names {
		alike := nearest(name, own)
		switch {
		case e.getenv(name) == "" || slices.Contains(known, name):
		case strings.HasPrefix(name, kamalPrefix):
			e.noteKamal(name, command)
		case !strings.HasPrefix(name, variablePrefix) || e.isOfKubernetes(name):
		case len(alike) > 0:
			return &usageError{commandPath(command), fmt.Errorf("%s is no variable of the proxy: want %s", name, strings.Join(alike, " or "))}
		case command.Target.Type() == reflect.TypeFor[runCommand]():
			e.notes = append(e.notes, fmt.Sprintf("%s ignored: it is no variable of the proxy; see parachute help run", name))
		}
	}
	return nil
}

// noteKamal notes a variable of kamal-proxy that has no effect although the command
// has the flag.
func (e *environ) noteKamal(name string, command *kong.Node) {
	for _, flag := range allFlags(command) {
		if !e.asKamal && kamalVariable(flag.Value) == name && len(variables(flag.Value)) > 0 {
			e.notes = append(e.notes, fmt.Sprintf("%s ignored: it is read where the program is called kamal-proxy; here, call it %s", name, variables(flag.Value)[0]))
			return
		}
	}
}

// Kubernetes describes each Service of a namespace in the environment of its
// containers, also one called parachute, or parachute-metrics. So does Docker for
// --link, in the older of the two forms.
var (
	serviceVariable = regexp.MustCompile(`_SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$`)
	serviceURL      = regexp.MustCompile(`^(?:tcp|udp|sctp)://`)
)

// isOfKubernetes reports whether Kubernetes made a variable for a Service.
func (e *environ) isOfKubernetes(name string) bool {
	service, isPort := strings.CutSuffix(name, "_PORT")
	return serviceVariable.MatchString(name) || name == variablePrefix+"PORT" ||
		isPort && e.getenv(service+"_SERVICE_HOST") != "" && serviceURL.MatchString(e.getenv(name))
}

// maxTypos is how many letters a misspelt name has wrong at most.
const maxTypos = 2

// nearest returns those of names, with our prefix, that are most like a name, if no
// more than maxTypos letters differ.
func nearest(name string, names []string) (best []string) {
	least := maxTypos
	for _, candidate := range names {
		d := distance(name, candidate)
		switch {
		case d > least || !strings.HasPrefix(candidate, variablePrefix):
		case d == least:
			best = append(best, candidate)
		default:
			best, least = []string{candidate}, d
		}
	}
	return best
}

// distance returns how many letters have to be put in, left out or replaced to make b
// of a (Levenshtein's distance).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // of the letters of a so far, to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func root(node *kong.Node) *kong.Node {
	for node.Parent != nil {
		node = node.Parent
	}
	return node
}

// variablesOf returns the variables of a command and of those below it.
func variablesOf(node *kong.Node) (names []string) {
	for _, flag := range allFlags(node) {
		names = append(names, variables(flag.Value)...)
	}
	for _, child := range node.Children {
		names = append(names, variablesOf(child)...)
	}
	return names
}

// allFlags returns the flags of a command and of those above it.
func allFlags(node *kong.Node) []*kong.Flag {
	return slices.Concat(node.AllFlags(false)...)
}
