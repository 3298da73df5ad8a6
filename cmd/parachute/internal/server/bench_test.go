package server_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The roles in which this test's program runs itself again, so that the CPU
// time and the profile of BenchmarkProxy are the proxy's alone.
const (
	roleVariable = "PARACHUTE_BENCH_ROLE"
	roleApp      = "app"
	roleClients  = "clients"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleApp:
		serveApp()
	case roleClients:
		sendRequests(os.Args[1], os.Args[2])
	default:
		// These tests wait more than they work; an explicit -parallel wins.
		flag.Set("test.parallel", "8")
		os.Exit(m.Run())
	}
}

// BenchmarkProxy is the proxy as it runs, access log and all, between clients
// and an app in processes of their own. A third of the requests each is small,
// has 20 headers both ways, and posts 1 KiB.
func BenchmarkProxy(b *testing.B) {
	c := newConfig(b)
	app := role(b, roleApp)
	out, err := app.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := app.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		app.Process.Kill()
		app.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	p := start(b, c)
	deploy(b, c, strings.TrimSpace(address))
	p.log.Forget() // for to keep millions of lines is no part of the proxy

	b.ResetTimer()
	before := cpuTime(b)
	clients := role(b, roleClients, p.address, strconv.Itoa(b.N))
	if err := clients.Run(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric((cpuTime(b)-before)*1e6/float64(b.N), "cpu-us/op")
}

func role(b *testing.B, name string, args ...string) *exec.Cmd {
	b.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// cpuTime returns how many seconds this process has used of its processors.
func cpuTime(b *testing.B) float64 {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func serveApp() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/headers" {
			for i := range 20 {
				w.Header().Set(fmt.Sprintf("X-Response-Header-%d", i), fmt.Sprintf("value-of-response-header-%d", i))
			}
		}
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, strings.Repeat("x", 100))
	})))
}

func sendRequests(address, total string) {
	n, err := strconv.Atoi(total)
	if err != nil {
		panic(err)
	}
	var many strings.Builder
	for i := range 20 {
		fmt.Fprintf(&many, "X-Request-Header-%d: value-of-request-header-%d\r\n", i, i)
	}
	requests := []string{
		"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n",
		"GET /headers HTTP/1.1\r\nHost: bench.test\r\n" + many.String() + "\r\n",
		"POST / HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("y", 1024),
	}
	const clients = 32
	var all sync.WaitGroup
	for i := range clients {
		share := n / clients
		if i < n%clients {
			share++
		}
		all.Go(func() { sendShare(address, requests, share) })
	}
	all.Wait()
}

func sendShare(address string, requests []string, n int) {
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	br := bufio.NewReader(conn)
	for i := range n {
		io.WriteString(conn, requests[i%len(requests)])
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			panic(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
			panic(fmt.Sprint(res.Status, err))
		}
	}
}
