package main

import (
	"fmt"
	"reflect"
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
	name := strings.ToUpper(strings.ReplaceAll(v.Name, "-", "_"))
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
	ignored []ignoredVariable
}

// An ignoredVariable has the bare name of an option, and a value that is not
// valid for it. It belongs to another program, such as
// HTTP_PORT=tcp://10.0.0.1:80.
type ignoredVariable struct {
	name string
	err  error
}

func (e *environ) Validate(*kong.Application) error { return nil }

func (e *environ) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range variables(flag.Value) {
		value := e.getenv(name)
		if value == "" {
			continue
		}
		err := tryDecode(flag.Value, value)
		if err == nil {
			return value, nil
		}
		if strings.HasPrefix(name, variablePrefix) {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		e.ignored = append(e.ignored, ignoredVariable{name, err})
	}
	return nil, nil
}

// warnings returns a warning for each variable that was ignored.
func (e *environ) warnings() []string {
	var all []string
	for _, v := range e.ignored {
		all = append(all, fmt.Sprintf("%s ignored: %v; if it is meant for the proxy, call it %s", v.name, v.err, variablePrefix+v.name))
	}
	return all
}

// tryDecode returns an error if value is not valid for a flag. It does not set
// the flag.
func tryDecode(v *kong.Value, value string) error {
	scratch := reflect.New(v.Target.Type()).Elem()
	scan := kong.Scan().PushTyped(value, kong.FlagValueToken)
	return v.Mapper.Decode(&kong.DecodeContext{Value: v, Scan: scan}, scratch)
}
