package main_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// nobody is the user who may do as good as nothing.
const nobody = 65534

// asNobody runs a command line with the program itself as somebody who has no
// privileges: as the user nobody where the tests run as root.
func asNobody(t *testing.T, env environment, args ...string) *process {
	t.Helper()
	if os.Getuid() != 0 {
		return asBinary(t, env, args...)
	}
	return start(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}, env, args)
}

// answering returns the address of a target that reads a request, writes answer,
// and hangs up.
func answering(t *testing.T, answer string) string {
	t.Helper()
	return listening(t, func(conn net.Conn) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, answer)
	})
}

// listening returns the address of a target that does so with each connection,
// and then closes it.
func listening(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// answeringTLS returns the address of a target that speaks TLS, with a certificate
// that nobody knows.
func answeringTLS(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail as they should
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Every hint, as the real program gives it to whoever has the problem.
func TestEveryProblemHasAHint(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t).with(environment{"GODEBUG": "netdns=go"}) // which needs no name server to see that a name cannot be
	startProxy(t, asBinary, env)
	old := newApp(t, "old")
	if deploy := asBinary(t, env, "deploy", "web", "--target", old.address, "--host", "app1.example.com"); deploy.wait(t) != 0 {
		t.Fatal(deploy.stderr)
	}
	status := func(status int, header string) string {
		return answering(t, fmt.Sprintf("HTTP/1.1 %d X\r\n%sContent-Length: 0\r\n\r\n", status, header))
	}
	silent := listening(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	const gone = "127.0.0.1:9" // nobody uses discard (RFC 863) any more

	type problem struct {
		name   string
		launch launcher
		env    environment
		args   []string
		code   int
		says   []string
	}
	var problems []problem
	awaited := make(map[string]bool) // whose first probe has to end before the deploy does
	for _, c := range []struct {
		name, target, flags string
		says                []string
	}{
		{"refused", gone, "", []string{"connection refused", "nothing listens on " + gone}},
		{"a name without an address", "app..example:3000", "", []string{"no such host", "finds no address for the name in app..example:3000"}},
		{"time-out", silent, "--health-check-timeout 50ms", []string{"last answer: none within 50ms", "--health-check-timeout"}},
		{"301 to https", status(301, "Location: https://app1.example.com/up\r\n"), "",
			[]string{"last answer: 301 to https://app1.example.com/up", "exclude /up from force_ssl, or use --health-check-path"}},
		{"302 elsewhere", status(302, "Location: /login\r\n"), "", []string{"last answer: 302 to /login", "--health-check-status 200-399"}},
		{"401", status(401, ""), "", []string{"last answer: 401", "wants a password for /up", "--health-check-header"}},
		{"403", status(403, ""), "", []string{"last answer: 403", "--health-check-host app1.example.com"}},
		{"404", status(404, ""), "--health-check-path /healthz", []string{"last answer: 404", "has nothing at /healthz", "--health-check-path"}},
		{"500", status(500, ""), "", []string{"last answer: 500", "look at its log"}},
		{"empty answer", answering(t, ""), "", []string{"EOF", "hangs up without an answer"}},
		{"TLS on a plain target", answeringTLS(t), "", []string{"last answer: 400", "the target speaks TLS: deploy it as https://"}},
		{"TLS on a plain target that is no Go program", answering(t, "\x15\x03\x01\x00\x02\x02\x46"), "", []string{"deploy it as https://"}},
		{"no TLS on a target over TLS", "https://" + old.address, "", []string{"does not speak TLS: deploy it as " + old.address}},
		{"a certificate that nobody vouches for", "https://" + answeringTLS(t), "--deploy-timeout 4s", // for the proxy reads whom the system trusts
			[]string{"--target-ca", "--target-insecure"}},
		{"no HTTP of version 2", "h2c://" + old.address, "", []string{"does not speak HTTP/2 without TLS: deploy it as " + old.address}},
		{"no HTTP", answering(t, "SSH-2.0-OpenSSH_9.2\r\n"), "", []string{"does not speak HTTP/1.1"}},
		{"another status", status(418, ""), "", []string{"last answer: 418", "--health-check-status"}},
		{"no answer in time", silent, "--deploy-timeout 50ms", []string{"no probe of " + silent + " has ended", "--deploy-timeout"}},
	} {
		// The service is one of its own, lest they supersede each other, but shares
		// the host with the others.
		awaited[c.name] = c.name != "no answer in time"
		service := strings.ReplaceAll(c.name, " ", "-")
		args := append(strings.Fields("deploy "+service+" --host app1.example.com --deploy-timeout 1500ms --target "+c.target), strings.Fields(c.flags)...)
		problems = append(problems, problem{c.name, asBinary, env, append(args, "--path-prefix", "/"+service), 1,
			append(c.says, "parachute: deploy "+service+": ", "nothing was changed; "+service+" is not deployed")})
	}

	forNobody := newEnvironment(t)
	shut := filepath.Dir(newEnvironment(t)["PARACHUTE_SOCKET"])
	if os.Getuid() == 0 {
		if err := os.Chown(filepath.Dir(forNobody["PARACHUTE_SOCKET"]), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	} else if err := os.Chmod(shut, 0); err != nil {
		t.Fatal(err)
	}
	_, taken, err := net.SplitHostPort(silent)
	if err != nil {
		t.Fatal(err)
	}
	other := newEnvironment(t)
	problems = append(problems,
		problem{"host taken", asBinary, env, []string{"deploy", "shop", "--target", old.address, "--host", "app1.example.com"}, 1,
			[]string{"used by another service: web", "parachute remove web", "nothing was changed; shop is not deployed"}},
		problem{"what served serves on", asBinary, env, []string{"deploy", "web", "--target", gone, "--host", "app1.example.com", "--deploy-timeout", "2s"}, 1,
			[]string{"nothing was changed; web still serves " + old.address}},
		problem{"no proxy", asBinary, other, []string{"list"}, 5, []string{"it is not there", "start a proxy with parachute run"}},
		problem{"no permission for the socket", asNobody, other, []string{"list", "--socket", filepath.Join(shut, "s")}, 5,
			[]string{"permission denied", "run it as root or as the user of the proxy"}},
		problem{"port in use", asBinary, other, []string{"run", "--http-port", taken}, 1,
			[]string{"address already in use", fmt.Sprintf("(pid %d), which listens there", os.Getpid()), "--http-port"}},
	)
	if os.Getuid() == 0 {
		problems = append(problems, problem{"port in use by somebody else", asNobody, forNobody, []string{"run", "--http-port", taken}, 1,
			[]string{"stop the process of user 0 that listens there", "--http-port"}})
	}
	if isPrivileged(t, 80) {
		problems = append(problems, problem{"port 80 not permitted", asNobody, forNobody, []string{"run", "--http-port", "80"}, 1,
			[]string{"permission denied", "CAP_NET_BIND_SERVICE", "--http-port"}})
	}

	// All at once, for each spends its time with waiting.
	var running []*process
	for i, problem := range problems {
		if i > 0 && problem.env["PARACHUTE_DATA_DIR"] == forNobody["PARACHUTE_DATA_DIR"] && problems[i-1].env["PARACHUTE_DATA_DIR"] == problem.env["PARACHUTE_DATA_DIR"] {
			running[i-1].wait(t) // they would be in each other's way
		}
		running = append(running, problem.launch(t, problem.env, problem.args...))
	}
	for i, problem := range problems {
		t.Run(problem.name, func(t *testing.T) {
			is := is.New(t)
			p := running[i]
			code := p.wait(t)
			for limit := 6 * time.Second; awaited[problem.name] && strings.Contains(p.stderr.String(), "no probe of ") && limit < patience; limit *= 2 {
				p = problem.launch(t, problem.env, append(problem.args, "--deploy-timeout", limit.String())...)
				code = p.wait(t)
			}
			is.Equal(code, problem.code)
			for _, says := range problem.says {
				if !strings.Contains(p.stderr.String(), says) {
					t.Errorf("it does not say %q, but:\n%s", says, p.stderr)
				}
			}
		})
	}
}

// isPrivileged reports whether a port takes a privilege here: in some containers
// none does.
func isPrivileged(t *testing.T, port int) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		t.Fatal(err)
	}
	var first int
	if _, err := fmt.Sscan(string(text), &first); err != nil {
		t.Fatal(err)
	}
	if first <= port {
		t.Logf("port %d takes no privilege here, so its hint is not shown: ip_unprivileged_port_start is %d", port, first)
	}
	return port < first
}
