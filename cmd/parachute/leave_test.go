package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// readiness returns the status of /readyz on a metrics port.
func readiness(port string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://127.0.0.1:" + port + "/readyz")
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	return fmt.Sprint(res.StatusCode)
}

func TestShutdownDelayKeepsAllButReadiness(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	metrics := proxytest.FreePort(t)
	proxy, address := startProxy(t, asBinary, env, "--shutdown-delay", "1h", "--metrics-port", metrics)
	first, second := newApp(t, "web-1"), newApp(t, "web-2")
	is.Equal(deploy(t, env, first), 0)
	is.Equal(readiness(metrics), "200")

	is.NoErr(proxy.signal(syscall.SIGTERM))
	proxy.stdout.await(t, proxy, `"shutdown_delay":"1h0m0s"`)
	is.Equal(readiness(metrics), "503")
	answer, err := get(newClient(t), address, "localhost", "/") // on a new connection
	is.NoErr(err)
	is.Equal(answer, "200 web-1")
	is.Equal(deploy(t, env, second), 0)
	answer, err = get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 web-2")

	is.NoErr(proxy.signal(syscall.SIGTERM))
	is.Equal(proxy.wait(t), 1) // at once
}

// The one before it still has a request, and says so until another has its socket.
func TestNextProxyServesWhileTheOneBeforeItEnds(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	port, metrics := proxytest.FreePort(t), proxytest.FreePort(t)
	first, address := startProxy(t, asBinary, env, "--http-port", port, "--metrics-port", metrics, "--shutdown-timeout", holdTime.String())
	a := newApp(t, "web-1")
	is.Equal(deploy(t, env, a), 0)
	running := hold(t, address, a)

	is.NoErr(first.signal(syscall.SIGTERM))
	first.stdout.await(t, first, `"msg":"stopping"`)
	status := asBinary(t, env, "status")
	is.Equal(status.wait(t), 0)
	is.True(strings.Contains(status.stdout.String(), "The proxy is stopping. It waits for 1 request, until "))
	is.True(strings.Contains(status.stdout.String(), "web-1") || strings.Contains(status.stdout.String(), a.address))
	is.Equal(readiness(metrics), "503")

	next, _ := startProxy(t, asBinary, env, "--http-port", port, "--metrics-port", metrics)
	is.Equal(readiness(metrics), "200")
	is.Equal(len(list(t, env)), 1)
	status = asBinary(t, env, "status")
	is.Equal(status.wait(t), 0)
	is.True(!strings.Contains(status.stdout.String(), "stopping")) // that is the next one
	select {
	case <-first.ended:
		t.Fatal("the request was not waited for")
	default:
	}
	a.release <- struct{}{}
	is.Equal(<-running, "200 web-1")
	is.Equal(first.wait(t), 0)

	is.Equal(deploy(t, env, newApp(t, "web-2")), 0) // the state and the socket are the next one's
	answer, err := get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 web-2")
	is.NoErr(next.signal(syscall.SIGTERM))
	is.Equal(next.wait(t), 0)
}

// A balancer is HAProxy with the configuration of the documentation.
type balancer struct {
	address string
	stats   string // path of the socket that tells what it thinks of its servers
}

// startHAProxy starts HAProxy in front of two proxies. Of the configuration it changes
// addresses, and that a check is made ten times as often, but takes three to give a
// proxy up, lest a busy machine be taken for one that ends; and it turns off that HAProxy
// asks the other one where a connection is refused, which hides that from clients.
func startHAProxy(t *testing.T, proxies, metrics [2]string) balancer {
	t.Helper()
	is := is.New(t)
	path, err := exec.LookPath("haproxy")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("the configuration of HAProxy is not tried: ", err)
	}
	docs, err := os.ReadFile("../../docs/operating.md")
	is.NoErr(err)
	_, config, found := strings.Cut(string(docs), "```\nglobal\n")
	is.True(found)
	config, _, found = strings.Cut(config, "```")
	is.True(found)
	dir, err := os.MkdirTemp("", "ha") // the path of a socket may not be long
	is.NoErr(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := balancer{address: "127.0.0.1:" + proxytest.FreePort(t), stats: filepath.Join(dir, "s")}
	for _, change := range [][2]string{
		{"bind :80", "bind " + b.address},
		{"check port 9090 inter 1s fall 1", "check inter 100ms fall 3"},
		{"timeout check 1s", "timeout check " + patience.String()},
		{"balance leastconn", "balance leastconn\n    retries 0"},
		{"10.0.0.1:80", proxies[0] + " port " + metrics[0]},
		{"10.0.0.2:80", proxies[1] + " port " + metrics[1]},
	} {
		is.Equal(strings.Count(config, change[0]), 1)
		config = strings.Replace(config, change[0], change[1], 1)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	is.NoErr(os.WriteFile(file, []byte("global\n    stats socket "+b.stats+"\n"+config), 0o600))
	said := new(bytes.Buffer)
	balancing := exec.Command(path, "-db", "-f", file)
	balancing.Stdout, balancing.Stderr = said, said
	is.NoErr(balancing.Start())
	t.Cleanup(func() {
		balancing.Process.Kill()
		balancing.Wait()
		if t.Failed() {
			t.Logf("HAProxy said:\n%s", said)
		}
	})
	return b
}

// awaitUp waits until HAProxy sends requests to both proxies.
func (b balancer) awaitUp(t *testing.T) {
	t.Helper()
	var said string
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if said = b.status(); strings.Count(said, ",UP,") == 3 { // two servers, and the backend
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("not both are up:\n%s", said)
}

// status returns what HAProxy thinks of its servers, a line for each.
func (b balancer) status() string {
	conn, err := net.Dial("unix", b.stats)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "show stat parachutes 6 -1\n"); err != nil {
		return err.Error()
	}
	said, err := io.ReadAll(bufio.NewReader(conn))
	return fmt.Sprint(string(said), err)
}

func TestNoRequestFailsWhileOneOfTwoProxiesEnds(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	a := newApp(t, "web-0")
	var envs [2]environment
	var proxies [2]*process
	var addresses, ports, metrics [2]string
	run := func(i int) {
		proxies[i], addresses[i] = startProxy(t, asBinary, envs[i],
			"--http-port", ports[i], "--metrics-port", metrics[i], "--shutdown-delay", "5s")
	}
	for i := range proxies {
		envs[i], ports[i], metrics[i] = newEnvironment(t), proxytest.FreePort(t), proxytest.FreePort(t)
		run(i)
		is.Equal(deploy(t, envs[i], a), 0)
	}
	b := startHAProxy(t, addresses, metrics)
	b.awaitUp(t)
	load := startLoad(b.address, 16)
	for i := range 4 {
		i %= 2
		is.NoErr(proxies[i].signal(syscall.SIGTERM))
		is.Equal(proxies[i].wait(t), 0)
		run(i)
		b.awaitUp(t)
	}
	served, errs := load.stop()
	is.NoErr(errs) // of the requests
	is.True(served > 100)
	t.Logf("%d requests in four shutdowns", served)
}
