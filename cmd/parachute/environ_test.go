package main

import (
	"bytes"
	"slices"
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

func TestKamalProxysVariablesAreReadWhereTheProgramIsCalledSo(t *testing.T) {
	kamals := map[string]string{
		"KAMAL_PROXY_HTTP_PORT": "8080", "KAMAL_PROXY_HTTPS_PORT": "8443", "KAMAL_PROXY_METRICS_PORT": "9090",
		"KAMAL_PROXY_DEBUG": "true", "KAMAL_PROXY_SOCKET": "/run/kamal",
		"HTTP_PORT": "1", "HTTPS_PORT": "2", // which it reads after its own
	}
	t.Run("called kamal-proxy", func(t *testing.T) {
		is := is.New(t)
		command, warnings, err := parseAs("/usr/local/bin/kamal-proxy", kamals, "run")
		is.NoErr(err)
		is.Equal(warnings, nil)
		is.Equal(command.Run.HTTPPort, port(8080))
		is.Equal(command.Run.HTTPSPort, httpsPort{8443, true})
		is.Equal(command.Run.MetricsPort, port(9090))
		is.True(command.Run.Debug)
		is.Equal(command.Run.Socket, "/run/kamal")
		command, warnings, err = parseAs("kamal-proxy", kamals, "list")
		is.NoErr(err)
		is.Equal(warnings, nil)
		is.Equal(command.List.Socket, "/run/kamal")
	})
	t.Run("beside ours", func(t *testing.T) {
		is := is.New(t)
		command, _, err := parseAs("kamal-proxy", map[string]string{"KAMAL_PROXY_HTTP_PORT": "8080", "PARACHUTE_HTTP_PORT": "8081"}, "run")
		is.NoErr(err)
		is.Equal(command.Run.HTTPPort, port(8081))
	})
	t.Run("nonsense, which it ignores itself", func(t *testing.T) {
		is := is.New(t)
		command, warnings, err := parseAs("kamal-proxy", map[string]string{"KAMAL_PROXY_HTTP_PORT": "http", "HTTP_PORT": "8080"}, "run")
		is.NoErr(err)
		is.Equal(command.Run.HTTPPort, port(8080))
		is.Equal(warnings, []string{`KAMAL_PROXY_HTTP_PORT ignored: "http" is no port: want a number from 0 to 65535; if it is meant for the proxy, call it PARACHUTE_HTTP_PORT`})
	})
	t.Run("called otherwise", func(t *testing.T) {
		is := is.New(t)
		command, warnings, err := parse(kamals, "run", "--http-port", "80")
		is.NoErr(err)
		is.Equal(command.Run.HTTPPort, port(80))
		is.Equal(command.Run.Debug, false)
		is.Equal(len(warnings), 5) // one for each
		slices.Sort(warnings)
		is.Equal(warnings[2], "KAMAL_PROXY_HTTP_PORT ignored: it is read where the program is called kamal-proxy; here, call it PARACHUTE_HTTP_PORT")
		_, warnings, err = parse(kamals, "list")
		is.NoErr(err)
		is.Equal(warnings, []string{"KAMAL_PROXY_SOCKET ignored: it is read where the program is called kamal-proxy; here, call it PARACHUTE_SOCKET"})
	})
}

func TestWhoIsCalledKamalProxyDoesAsThat(t *testing.T) {
	for _, test := range []struct {
		name, args string
		env        map[string]string
		want       bool
	}{
		{"parachute", "run", nil, false},
		{"/usr/local/bin/kamal-proxy", "run", nil, true},
		{"kamal-proxy", "run --kamal-metrics=false", nil, false},
		{"kamal-proxy", "run", map[string]string{"KAMAL_METRICS": "false"}, false},
		{"parachute", "run --kamal-metrics", nil, true},
		{"parachute", "run", map[string]string{"PARACHUTE_KAMAL_METRICS": "true"}, true},
	} {
		t.Run(test.name+" "+test.args, func(t *testing.T) {
			is := is.New(t)
			command, _, err := parseAs(test.name, test.env, strings.Fields(test.args)...)
			is.NoErr(err)
			p := &program{environ: newEnviron(nil, test.name), paths: defaultPaths{getenv: func(string) string { return "" }}}
			config, err := command.Run.config(p)
			is.NoErr(err)
			is.Equal(config.KamalMetrics, test.want)
			is.Equal(config.TargetHeader == "X-Kamal-Target", strings.HasSuffix(test.name, "kamal-proxy"))
		})
	}
}

func TestMisspeltVariableIsAnErrorWithTheRightName(t *testing.T) {
	for _, test := range []struct{ command, given, want string }{
		{"run", "PARACHUTE_HTP_PORT", "PARACHUTE_HTTP_PORT"},
		{"run", "PARACHUTE_HTTP_PROT", "PARACHUTE_HTTP_PORT"},
		{"run", "PARACHUTE_HTTPSPORT", "PARACHUTE_HTTP_PORT or PARACHUTE_HTTPS_PORT"},
		{"run", "PARACHUTE_DATADIR", "PARACHUTE_DATA_DIR"},
		{"run", "PARACHUTE_METRIC_PORTS", "PARACHUTE_METRICS_PORT"},
		{"list", "PARACHUTE_SOCKT", "PARACHUTE_SOCKET"},
	} {
		t.Run(test.given, func(t *testing.T) {
			is := is.New(t)
			_, _, err := parse(map[string]string{test.given: "8080"}, test.command)
			refused(is, err, test.command+": "+test.given+" is no variable of the proxy: want "+test.want)
			is.Equal(exitCode(err), exitUsage)
			_, _, err = parse(map[string]string{test.given: ""}, test.command)
			is.NoErr(err) // empty is unset
		})
	}
}

func TestUnknownVariablesAreWarnedOfByRun(t *testing.T) {
	is := is.New(t)
	env := map[string]string{"PARACHUTE_COLOUR": "orange", "PARACHUTE_HTP_PORT": "", "PARACHUTES": "2", "HTP_PORT": "80"}
	_, warnings, err := parse(env, "run")
	is.NoErr(err)
	is.Equal(warnings, []string{"PARACHUTE_COLOUR ignored: it is no variable of the proxy; see parachute help run"})
	_, warnings, err = parse(env, "list")
	is.NoErr(err)
	is.Equal(warnings, nil) // it is the proxy's matter
	_, warnings, err = parse(map[string]string{"PARACHUTE_HTP_PORT": "80", "PARACHUTE_SOCKET_GROUP": "web"}, "list")
	is.NoErr(err)
	is.Equal(warnings, nil)
}

// Kubernetes describes the Services of a namespace in the environment.
func TestVariablesOfServicesInKubernetesArePassedOver(t *testing.T) {
	is := is.New(t)
	env := map[string]string{"PARACHUTE_HTTP_PORT": "8080"}
	for _, service := range []string{"PARACHUTE", "PARACHUTE_METRICS", "PARACHUTE_HTP"} {
		env[service+"_SERVICE_HOST"] = "10.0.0.1"
		env[service+"_SERVICE_PORT"] = "80"
		env[service+"_SERVICE_PORT_HTTP_ALT"] = "80"
		env[service+"_PORT"] = "tcp://10.0.0.1:80"
		for _, protocol := range []string{"TCP", "UDP"} {
			at := service + "_PORT_80_" + protocol
			env[at], env[at+"_PROTO"], env[at+"_PORT"], env[at+"_ADDR"] = "tcp://10.0.0.1:80", "tcp", "80", "10.0.0.1"
		}
	}
	command, warnings, err := parse(env, "run")
	is.NoErr(err)
	is.Equal(command.Run.HTTPPort, port(8080))
	is.Equal(command.Run.MetricsPort, port(0))
	is.Equal(warnings, []string{"PARACHUTE_METRICS_PORT ignored: Kubernetes has made it for a Service; use --metrics-port"})

	_, _, err = parse(map[string]string{"PARACHUTE_METRICS_PORT": "tcp://10.0.0.1:80"}, "run")
	refused(is, err, `PARACHUTE_METRICS_PORT: "tcp://10.0.0.1:80" is no port`) // of which Kubernetes says nothing
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
	return parseAs("/usr/local/bin/parachute", env, args...)
}

// parseAs is parse for a program that is called by that name.
func parseAs(name string, env map[string]string, args ...string) (*grammar, []string, error) {
	var variables []string
	for name, value := range env {
		variables = append(variables, name+"="+value)
	}
	p := &program{
		stdout:  new(bytes.Buffer),
		stderr:  new(bytes.Buffer),
		environ: newEnviron(variables, name),
	}
	command, err := p.parse(args)
	if err != nil {
		return nil, nil, err
	}
	return command.Model.Target.Addr().Interface().(*grammar), p.environ.warnings(), nil
}
