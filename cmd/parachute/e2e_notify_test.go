package main_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A toldOf is a notification as its receiver gets it.
type toldOf struct {
	Kind, Service, Text, Signature string
	Generation                     uint64
	PID                            int
	body                           []byte
}

// newListener returns the URL of somebody who is told, and what he is told.
func newListener(t *testing.T) (url string, told <-chan toldOf) {
	t.Helper()
	all := make(chan toldOf, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var one toldOf
		one.body, _ = io.ReadAll(r.Body)
		if json.Unmarshal(one.body, &one) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		one.Signature = r.Header.Get("X-Parachute-Signature")
		all <- one
	}))
	t.Cleanup(s.Close)
	return s.URL + "/secret", all
}

// next returns what is told next.
func next(t *testing.T, told <-chan toldOf) toldOf {
	t.Helper()
	select {
	case one := <-told:
		return one
	case <-time.After(patience):
		t.Fatal("nothing is told")
		return toldOf{}
	}
}

func TestWhatHappensIsToldWithASignature(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	url, told := newListener(t)
	env := newEnvironment(t).with(environment{"PARACHUTE_NOTIFY_KEY": "-- any words", "PARACHUTE_NOTIFY_URL": url})
	metrics := proxytest.FreeAddress(t)
	proxy, _ := startProxy(t, asBinary, env, "--metrics-port", portOf(metrics))
	a, sick := newApp(t, "web-0"), newApp(t, "sick")
	sick.probe.Store(http.StatusServiceUnavailable)
	is.Equal(asBinary(t, env, "deploy", "web", "--target", a.address, "--release", "v7").wait(t), 0)
	is.Equal(asBinary(t, env, "deploy", "web", "--target", sick.address, "--deploy-timeout", "100ms").wait(t), 1)
	is.Equal(a.probe.Swap(http.StatusServiceUnavailable), int64(http.StatusOK))

	var kinds []string
	for range 4 {
		one := next(t, told)
		kinds = append(kinds, one.Kind)
		mac := hmac.New(sha256.New, []byte("-- any words"))
		mac.Write(one.body)
		is.Equal(one.Signature, "sha256="+hex.EncodeToString(mac.Sum(nil)))
		if one.Kind == "switched" {
			is.Equal(one.Service, "web")
			is.Equal(one.Generation, uint64(1))
			is.Equal(one.Text, "web: generation 1, release v7 serves at "+a.address)
		}
	}
	is.Equal(kinds, []string{"started", "switched", "failed", "unhealthy"})
	a.probe.Store(http.StatusOK)
	is.True(strings.Contains(next(t, told).Text, a.address+" is healthy again: GET /up answered 200"))

	host := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/secret")
	sent := fmt.Sprintf(`parachute_notifications_total{host=%q,outcome="sent"} 5`, host)
	var page string
	for begin := time.Now(); !strings.Contains(page, sent); { // the last answer may be on its way
		is.True(time.Since(begin) < patience)
		var err error
		page, err = scrape(metrics)
		is.NoErr(err)
	}
	is.True(strings.Contains(page, fmt.Sprintf(`parachute_notifications_total{host=%q,outcome="dropped"} 0`, host)))
	is.NoErr(proxy.signal(syscall.SIGTERM))
	is.Equal(next(t, told).Kind, "stopping")
	is.Equal(proxy.wait(t), 0)
}

// scrape returns the metrics of a proxy.
func scrape(address string) (string, error) {
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	return string(page), err
}

func TestDeploysAndShutdownDoNotWaitForWhoIsTold(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	hanging := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-hanging }))
	defer s.Close()
	defer close(hanging)
	url, told := newListener(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, asBinary, env, "--notify-url", s.URL, "--notify-url", url)
	a := newApp(t, "web-0")
	is.Equal(next(t, told).Kind, "started")
	for range 150 { // which is more than may wait
		is.Equal(deploy(t, env, a), 0)
		is.Equal(next(t, told).Kind, "switched")
	}
	answer, err := get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 web-0")
	is.NoErr(proxy.signal(syscall.SIGTERM))
	is.Equal(next(t, told).Kind, "stopping")
	is.Equal(proxy.wait(t), 0) // within less than the ten seconds that an answer may take
	is.True(strings.Contains(proxy.stdout.String(), `"msg":"a notification is dropped"`))
}

func TestWhoIsToldHearsOfEachThingOnceOverAnUpgrade(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	url, told := newListener(t)
	env := newEnvironment(t)
	first, _ := startProxy(t, asBinary, env, "--notify-url", url)
	endProxy(t, env)
	a, b := newApp(t, "a"), newApp(t, "b")
	names := map[int]string{first.pid: "first "}
	var got []string
	heard := func(n int) { // before the other process does something
		t.Helper()
		for range n {
			one := next(t, told)
			got = append(got, names[one.PID]+one.Kind)
		}
	}
	is.Equal(deploy(t, env, a), 0)
	heard(2)
	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)
	second := pidOf(t, env)
	names[second] = "second "
	is.Equal(deploy(t, env, b), 0) // the old process follows
	heard(2)
	is.NoErr(syscall.Kill(second, syscall.SIGKILL))
	heard(1)
	is.Equal(deploy(t, env, a), 0)
	heard(1)
	is.Equal(got, []string{"first started", "first switched", "second started", "second switched", "first started", "first switched"})
}

func TestURLThatCannotBePostedToIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no URL":           {"--notify-url", "secret"},
		"no host":          {"--notify-url", "https:///secret"},
		"another protocol": {"--notify-url", "ftp://hooks.example.com/secret"},
		"a fragment":       {"--notify-url", "https://hooks.example.com/#secret"},
		"nothing":          {"--notify-url", " "},
		"one of two":       {"--notify-url", "https://hooks.example.com/ secret"},
		"key alone":        {"--notify-key", "secret"},
		"format alone":     {"--notify-format", "slack"},
		"another format":   {"--notify-url", "https://hooks.example.com/", "--notify-format", "xml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			p := inProcess(t, newEnvironment(t), append([]string{"run"}, args...)...)
			is.Equal(p.wait(t), 2)
			said := p.stderr.String()
			is.True(strings.Contains(said, "--notify-") && strings.Contains(said, "want ")) // which, and what is right
			is.True(!strings.Contains(said, "secret"))
		})
	}
}
