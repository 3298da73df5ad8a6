package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// variablePrefix is how a variable begins that can only be meant for parachute.
const variablePrefix = "PARACHUTE_"

// variables returns the names of the environment variables that a flag is read
// from, the one that wins first. The tag envar of the flag's field says which
// there are: "both" is PARACHUTE_HTTP_PORT and HTTP_PORT, "prefixed" only the
// first, because the second would say nothing of whose socket is meant.
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

// helpWithVariables is the help of a flag or argument as it is shown.
func helpWithVariables(v *kong.Value) string {
	names := variables(v)
	if len(names) == 0 {
		return v.Help
	}
	return fmt.Sprintf("%s ($%s)", v.Help, strings.Join(names, ", $"))
}

// environ is a kong.Resolver that takes from the environment what the command
// line did not say. An empty variable counts as unset. What kong makes of its
// own env tag differs: there an empty variable, or one of the same name that
// belongs to somebody else, stops the program even beside an explicit flag.
type environ struct {
	getenv  func(string) string
	ignored []ignoredVariable
}

// An ignoredVariable has the bare name of an option and a value that is none:
// somebody else's, such as HTTP_PORT=tcp://10.0.0.1:80.
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

// warnings tells which variables were ignored.
func (e *environ) warnings() []string {
	var all []string
	for _, v := range e.ignored {
		all = append(all, fmt.Sprintf("%s ignored: %v; if it is meant for the proxy, call it %s", v.name, v.err, variablePrefix+v.name))
	}
	return all
}

// tryDecode reports what is wrong with a value for a flag, whose own value it
// leaves alone.
func tryDecode(v *kong.Value, value string) error {
	scratch := reflect.New(v.Target.Type()).Elem()
	scan := kong.Scan().PushTyped(value, kong.FlagValueToken)
	return v.Mapper.Decode(&kong.DecodeContext{Value: v, Scan: scan}, scratch)
}
