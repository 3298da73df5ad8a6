package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/matryer/is"
)

func TestEnvironmentFillsInWhatTheCommandLineDoesNotSay(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		want port
	}{
		{name: "nothing said", want: 80},
		{name: "bare", env: map[string]string{"HTTP_PORT": "8080"}, want: 8080},
		{name: "prefixed", env: map[string]string{"PARACHUTE_HTTP_PORT": "8081"}, want: 8081},
		{name: "prefixed before bare", env: map[string]string{"PARACHUTE_HTTP_PORT": "8081", "HTTP_PORT": "8080"}, want: 8081},
		{name: "flag before both", args: []string{"--http-port", "8082"}, env: map[string]string{"PARACHUTE_HTTP_PORT": "8081", "HTTP_PORT": "8080"}, want: 8082},
		{name: "empty is unset", env: map[string]string{"PARACHUTE_HTTP_PORT": "", "HTTP_PORT": "8080"}, want: 8080},
		{name: "flag beside nonsense", args: []string{"--http-port", "8082"}, env: map[string]string{"PARACHUTE_HTTP_PORT": "http", "HTTP_PORT": "http"}, want: 8082},
		{name: "nonsense that is bare", env: map[string]string{"HTTP_PORT": "tcp://10.0.0.1:80"}, want: 80},
		{name: "prefixed beside nonsense", env: map[string]string{"PARACHUTE_HTTP_PORT": "8081", "HTTP_PORT": "tcp://10.0.0.1:80"}, want: 8081},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			command, _, err := parse(test.env, append([]string{"run"}, test.args...)...)
			is.NoErr(err)
			is.Equal(command.Run.HTTPPort, test.want)
		})
	}
}

func TestPrefixedVariableThatDoesNotParseIsAnErrorNamingIt(t *testing.T) {
	is := is.New(t)
	_, _, err := parse(map[string]string{"PARACHUTE_HTTP_PORT": "http"}, "run")
	refused(is, err, `PARACHUTE_HTTP_PORT: "http" is no port`)
	is.Equal(exitCode(err), exitUsage)
}

func TestBareVariableThatDoesNotParseIsIgnoredWithAWarning(t *testing.T) {
	is := is.New(t)
	command, warnings, err := parse(map[string]string{"DEBUG": "app:*"}, "run")
	is.NoErr(err)
	is.Equal(command.Run.Debug, false)
	is.Equal(len(warnings), 1)
	is.True(strings.HasPrefix(warnings[0], "DEBUG ignored: ")) // names the variable
	is.True(strings.Contains(warnings[0], "PARACHUTE_DEBUG"))  // and the one that would be meant
}

func TestBooleansAreReadFromTheEnvironmentAndUndoneByFlags(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		env  string
		want bool
	}{
		{name: "unset"},
		{name: "true", env: "true", want: true},
		{name: "1", env: "1", want: true},
		{name: "false", env: "false"},
		{name: "--debug", args: []string{"--debug"}, env: "false", want: true},
		{name: "--debug=false", args: []string{"--debug=false"}, env: "true"},
		{name: "--no-debug", args: []string{"--no-debug"}, env: "true"},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			command, _, err := parse(map[string]string{"PARACHUTE_DEBUG": test.env}, append([]string{"run"}, test.args...)...)
			is.NoErr(err)
			is.Equal(command.Run.Debug, test.want)
		})
	}
}

func TestAccessLogIsSwitchedOffAndOnAgain(t *testing.T) {
	for args, want := range map[string]bool{
		"":                      false,
		"--no-access-log":       true,
		"--no-access-log=false": false,
		"--access-log":          false,
	} {
		t.Run(args, func(t *testing.T) {
			is := is.New(t)
			command, _, err := parse(nil, append([]string{"run"}, strings.Fields(args)...)...)
			is.NoErr(err)
			is.Equal(command.Run.NoAccessLog, want)
		})
	}
}

func TestPlacesHaveThePrefixedVariableOnly(t *testing.T) {
	is := is.New(t)
	command, _, err := parse(map[string]string{"SOCKET": "/a", "DATA_DIR": "/b"}, "run")
	is.NoErr(err)
	is.Equal(command.Run.Socket, "")
	is.Equal(command.Run.DataDir, "")
	command, _, err = parse(map[string]string{"PARACHUTE_SOCKET": "/a", "PARACHUTE_DATA_DIR": "/b"}, "run")
	is.NoErr(err)
	is.Equal(command.Run.Socket, "/a")
	is.Equal(command.Run.DataDir, "/b")
	command, _, err = parse(map[string]string{"PARACHUTE_SOCKET": "/a"}, "list")
	is.NoErr(err)
	is.Equal(command.List.Socket, "/a") // commands have it too
}

func TestVariablesOfRunDoNotReachOtherCommands(t *testing.T) {
	is := is.New(t)
	_, warnings, err := parse(map[string]string{"PARACHUTE_HTTP_PORT": "http", "FORCE": "yes", "TARGET": "x:1"}, "deploy", "web-1:3000")
	is.NoErr(err)
	is.Equal(len(warnings), 0)
}

func TestEveryOptionOfRunHasItsVariables(t *testing.T) {
	is := is.New(t)
	parser, err := kong.New(&grammar{})
	is.NoErr(err)
	run := parser.Model.Children[0]
	is.Equal(run.Name, "run")
	for _, flag := range run.Flags {
		t.Run(flag.Name, func(t *testing.T) {
			is := is.New(t)
			is.True(len(variables(flag.Value)) > 0) // the field has a tag envar
			help := helpWithVariables(flag.Value)
			for _, name := range variables(flag.Value) {
				is.True(strings.Contains(help, "$"+name)) // the help shows it
			}
		})
	}
}

// parse parses a command line without running it.
func parse(env map[string]string, args ...string) (*grammar, []string, error) {
	p := &program{
		stdout:  new(bytes.Buffer),
		stderr:  new(bytes.Buffer),
		environ: &environ{getenv: func(name string) string { return env[name] }},
	}
	command, err := p.parse(args)
	if err != nil {
		return nil, nil, err
	}
	return command.Model.Target.Addr().Interface().(*grammar), p.environ.warnings(), nil
}
