package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/internal/verbose"
)

// The library speaks of its own fields and methods where it says what to do about
// an error. On the command line they have other names.

// flags returns the flag, or the command, for each of them that has one.
func flags() map[string]string {
	return map[string]string{
		"Deployment.Targets":        "--target",
		"Deployment.ReadTargets":    "--read-target",
		"Deployment.ReadWebSockets": "--read-target-websockets",
		"Deployment.Affinity":       "--affinity",
		"TargetKeepAlive.Off":       "--no-target-keepalive",
		"TargetKeepAlive.Requests":  "--target-keepalive-requests",
		"Deployment.Hosts":          "--host",
		"Deployment.PathPrefixes":   "--path-prefix",
		"Deployment.KeepPrefix":     "--no-strip-path-prefix",
		"Deployment.CanonicalHost":  "--canonical-host",
		"Deployment.Redirects":      "--redirect",
		"Deployment.Force":          "--force",
		"Bake.For":                  "--bake",
		"Bake.MaxErrorRate":         "--max-error-rate",
		"Bake.MaxSlowdown":          "--max-slowdown",
		"Bake.MinRequests":          "--min-requests",
		"Canary.Steps":              "--canary",
		"Canary.Step":               "--step",
		"Deployment.Release":        "--release",
		"Deployment.By":             "--by",
		"Deployment.ErrorPages":     "--error-pages",

		"Deployment.NoWebSocketClose": "--no-websocket-close",
		"Deployment.MaxRequestBody":   "--max-request-body",
		"Deployment.MaxResponseBody":  "--max-response-body",

		"TargetTLS.CAFile":     "--target-ca",
		"TargetTLS.ServerName": "--target-server-name",
		"TargetTLS.Insecure":   "--target-insecure",

		"TLS.Mode":       "--tls",
		"TLS.Staging":    "--tls-staging",
		"TLS.CacheDir":   "--tls-acme-cache-path",
		"TLS.CertFile":   "--tls-certificate-path",
		"TLS.KeyFile":    "--tls-private-key-path",
		"TLS.AskURL":     "--tls-on-demand-url",
		"TLS.NoRedirect": "--no-tls-redirect",
		"TLS.Wait":       "--wait-certificate",

		"HealthCheck.Path":        "--health-check-path",
		"HealthCheck.Port":        "--health-check-port",
		"HealthCheck.Host":        "--health-check-host",
		"HealthCheck.Interval":    "--health-check-interval",
		"HealthCheck.Timeout":     "--health-check-timeout",
		"HealthCheck.Headers":     "--health-check-header",
		"HealthCheck.Status":      "--health-check-status",
		"HealthCheck.Rise":        "--health-check-rise",
		"HealthCheck.Fall":        "--health-check-fall",
		"HealthCheck.GRPC":        "--health-check-grpc",
		"HealthCheck.GRPCService": "--health-check-grpc",

		"Timeouts.Deploy":         "--deploy-timeout",
		"Timeouts.Drain":          "--drain-timeout",
		"Timeouts.Stream":         "--stream-drain-timeout",
		"Timeouts.Response":       "--target-timeout",
		"Timeouts.Hold":           "--hold",
		"Timeouts.WriterAffinity": "--writer-affinity-timeout",

		"Buffer.Requests":  "--buffer-requests",
		"Buffer.Responses": "--buffer-responses",
		"Buffer.Memory":    "--buffer-memory",

		"Access.Allow":           "--allow",
		"Access.Deny":            "--deny",
		"Access.BasicAuthFile":   "--basic-auth-file",
		"Forwarded.Trust":        "--forward-headers",
		"Forwarded.ClientHeader": "--client-ip-header",

		"Headers.Request":      "--request-header",
		"Headers.Response":     "--response-header",
		"Headers.HSTS":         "--hsts",
		"Headers.Release":      "--release-header",
		"Headers.ScopeCookies": "--scope-cookie-paths",

		"Headers.RewriteLocation": "--rewrite-location",

		"ACME.DNS": "parachute run --acme-dns-command or parachute run --acme-dns-server",

		"Proxy.Services":     "parachute list",
		"Proxy.Certificates": "parachute certificates",
		"Proxy.Remove":       "parachute remove",
		"Status.Deployment":  "parachute list --json",
	}
}

// nameOfLibrary matches what may be a field or a method, with the argument of the
// method if it is a string.
var nameOfLibrary = regexp.MustCompile(`\b([A-Z][A-Za-z]*\.[A-Z][A-Za-z]*)(?:\(("(?:[^"\\]|\\.)*")\))?`)

// withFlags returns a text of the library with the names that the command line
// has for its fields and methods: --health-check-path for HealthCheck.Path, and
// "parachute remove web" for Proxy.Remove("web").
func withFlags(text string) string {
	names := flags()
	return nameOfLibrary.ReplaceAllStringFunc(text, func(found string) string {
		parts := nameOfLibrary.FindStringSubmatch(found)
		flag := names[parts[1]]
		if flag == "" {
			return found
		}
		if argument, err := strconv.Unquote(parts[2]); err == nil {
			return flag + " " + shellWord(argument)
		}
		return flag
	})
}

// shellWord returns s as a shell takes it for one word.
func shellWord(s string) string {
	if s != "" && !strings.ContainsAny(s, " |&;<>()$`\\\"'*?[]{}#~!^") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// withCommand returns an error's text of the library that begins with what was being
// done in the words of the command for it: "rollout set web: ..." for "split web: ...".
func withCommand(text string) string {
	for verb, command := range map[string]string{
		"roll out ":    "rollout deploy ",
		"split ":       "rollout set ",
		"end rollout ": "rollout stop ",
	} {
		if rest, ok := strings.CutPrefix(text, "parachute: "+verb); ok {
			return "parachute: " + command + rest
		}
	}
	return text
}

// A flagError is an error with the words of the command line in its %+v form, which has
// hints in it.
type flagError struct{ error }

func (e flagError) Unwrap() error { return e.error }

func (e flagError) Format(s fmt.State, verb rune) {
	verbose.Format(s, verb, e.error, withCommand(withFlags(fmt.Sprintf("%+v", e.error))))
}
