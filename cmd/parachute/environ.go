package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// variablePrefix begins the names of variables that can only be meant for
// parachute.
const variablePrefix = "PARACHUTE_"

// variables returns the names of the environment variables that a flag is read
// from, in order of precedence. The tag envar of the flag's field says which
// there are: "both" means PARACHUTE_HTTP_PORT and HTTP_PORT; "prefixed" means
// the first alone, for names such as SOCKET that many programs might use.
func variables(v *kong.Value) []string {
	name := upperCase(v.Name)
	switch v.Tag.Get("envar") {
	case "both":
		return []string{variablePrefix + name, name}
	case "prefixed":
		return []string{variablePrefix + name}
	}
	return nil
}

// helpWithVariables returns the help of a flag or argument, with its variables.
func helpWithVariables(v *kong.Value) string {
	names := variables(v)
	if len(names) == 0 {
		return v.Help
	}
	return fmt.Sprintf("%s ($%s)", v.Help, strings.Join(names, ", $"))
}

// environ is a kong.Resolver that reads flags from the environment if they are
// not on the command line. An empty variable counts as unset. kong's own env tag
// is not used, because with it an empty variable, or another program's variable
// of the same name, is an error even if the flag is given.
type environ struct {
	getenv  func(string) string
	names   []string // of all variables
	asKamal bool     // kamal-proxy's variables are read, too
	notes   []string // about variables that are ignored
}

// newEnviron returns an environ of variables in the form of os.Environ, for a program
// that was called by that name.
func newEnviron(variables []string, program string) *environ {
	values := make(map[string]string)
	e := &environ{getenv: func(name string) string { return values[name] }, asKamal: isKamalProxy(program)}
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		if _, again := values[name]; !again {
			values[name], e.names = value, append(e.names, name)
		}
	}
	return e
}

// variables returns those that a flag is read from here, in order of precedence.
func (e *environ) variables(v *kong.Value) []string {
	names := variables(v)
	if own := kamalVariable(v); e.asKamal && own != "" && len(names) > 0 {
		return slices.Insert(names, 1, own)
	}
	return names
}

func (e *environ) Validate(*kong.Application) error { return nil }

func (e *environ) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range e.variables(flag.Value) {
		value := e.getenv(name)
		if value == "" {
			continue
		}
		err := tryDecode(flag.Value, value)
		if err == nil {
			return value, nil
		}
		// What is not valid belongs to another program if it has the bare name, as
		// in HTTP_PORT=tcp://10.0.0.1:80. kamal-proxy ignores it in its own, too.
		isOurs := strings.HasPrefix(name, variablePrefix)
		switch {
		case !isOurs:
			e.notes = append(e.notes, fmt.Sprintf("%s ignored: %v; if it is meant for the proxy, call it %s", name, err, variables(flag.Value)[0]))
		case e.isOfKubernetes(name):
			e.notes = append(e.notes, fmt.Sprintf("%s ignored: Kubernetes has made it for a Service; use --%s", name, flag.Name))
		default:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil, nil
}

// warnings returns a warning for each variable that is ignored.
func (e *environ) warnings() []string { return e.notes }

// tryDecode returns an error if value is not valid for a flag. It does not set
// the flag.
func tryDecode(v *kong.Value, value string) error {
	scratch := reflect.New(v.Target.Type()).Elem()
	scan := kong.Scan().PushTyped(value, kong.FlagValueToken)
	return v.Mapper.Decode(&kong.DecodeContext{Value: v, Scan: scan}, scratch)
}
