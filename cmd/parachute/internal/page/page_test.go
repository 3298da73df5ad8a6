package page_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/page"
)

// A site is a page about services that the test sets.
type site struct {
	services     []parachute.Status
	certificates []parachute.Certificate
	recorder     *page.Recorder
	page         *page.Page
}

func newSite(t *testing.T, configure func(*page.Config)) *site {
	s := &site{recorder: page.NewRecorder()}
	c := page.Config{
		Recorder:     s.recorder,
		Services:     func() []parachute.Status { return s.services },
		Certificates: func() []parachute.Certificate { return s.certificates },
		Logs: func(_ context.Context, service string, lines int, write func([]byte) error) error {
			return write([]byte(`{"level":"INFO","service":"` + service + `","status":200,"path":"/a"}` + "\n" +
				`{"level":"INFO","service":"` + service + `","status":502,"path":"/b"}` + "\n" +
				`{"level":"INFO","service":"` + service + `","status":200,"path":"/c"}` + "\n"))
		},
	}
	if configure != nil {
		configure(&c)
	}
	s.page = page.New(c)
	t.Cleanup(s.page.Close)
	return s
}

// withPassword lets everybody in, as those who know the password are.
func withPassword(c *page.Config) {
	c.Allows = func(context.Context, http.Header) (bool, error) { return true, nil }
}

func (s *site) get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Host = "localhost:9000"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.page.ServeHTTP(w, r)
	return w
}

func serving(name string, targets ...parachute.TargetStatus) parachute.Status {
	return parachute.Status{Service: name, State: parachute.StateServing, Live: &parachute.Live{Targets: targets, Since: time.Now()}}
}

func healthy(address string) parachute.TargetStatus {
	return parachute.TargetStatus{Address: address, Health: parachute.HealthHealthy}
}

func unhealthy(address, body string) parachute.TargetStatus {
	return parachute.TargetStatus{
		Address: address, Health: parachute.HealthUnhealthy, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Probe: &parachute.Probe{Status: 500, Cause: parachute.CauseServerError, Body: body, URL: "http://" + address + "/up"},
	}
}

func TestServiceThatHasFailedSinceItsDeployComesFirst(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	for i := range 20 {
		s.services = append(s.services, serving(fmt.Sprintf("app-%02d", i), healthy("10.0.0.1:80")))
	}
	s.services[13] = serving("app-13", unhealthy("10.0.0.13:80", "no database"))
	text := s.get(t, "/").Body.String()
	rows := regexp.MustCompile(`<bdi>(app-\d\d)</bdi></a>`).FindAllStringSubmatch(text, -1)
	is.Equal(len(rows), 20)
	is.Equal(rows[0][1], "app-13")
	is.True(strings.Contains(text, "20 services, 1 in trouble."))
	row := text[strings.Index(text, `<tr id="s-`):]
	row = row[:strings.Index(row, "</tr>")]
	is.True(strings.Contains(row, ">down<"))                                         // its state is a word
	is.True(strings.Contains(row, "10.0.0.13:80: probe failed: server error (500)")) // so is the cause
	is.True(strings.Contains(row, "since 2026-01-02 03:04:05"))                      // and the time
}

func TestWordsOfAppsAreShownOnlyToWhoeverKnowsAPassword(t *testing.T) {
	is := is.New(t)
	for _, protected := range []bool{false, true} {
		var configure func(*page.Config)
		if protected {
			configure = withPassword
		}
		s := newSite(t, configure)
		s.services = []parachute.Status{serving("web", unhealthy("10.0.0.1:80", "secret of the app"))}
		s.recorder.Notify(parachute.Event{Time: time.Now(), Service: "web", Kind: parachute.EventFailed, Err: errors.New("secret of the error")})
		s.recorder.Notify(parachute.Event{Time: time.Now(), Service: "web", Kind: parachute.EventUnhealthy, Probe: s.services[0].Live.Targets[0].Probe})
		for _, path := range []string{"/", "/services/web", "/events"} {
			text := s.get(t, path).Body.String()
			is.Equal(strings.Contains(text, "secret of"), protected) // path shows what the app said
		}
		log := s.get(t, "/services/web/log")
		is.Equal(log.Code == http.StatusOK, protected)
		is.Equal(strings.Contains(log.Body.String(), "/b"), protected)
	}
}

func TestFailedLinesOfTheLogComeFirstOnDemand(t *testing.T) {
	is := is.New(t)
	s := newSite(t, withPassword)
	order := func(path string) string {
		var all string
		for _, m := range regexp.MustCompile(`&#34;path&#34;:&#34;/(.)`).FindAllStringSubmatch(s.get(t, path).Body.String(), -1) {
			all += m[1]
		}
		return all
	}
	is.Equal(order("/services/web/log"), "cba")
	is.Equal(order("/services/web/log?failed=first"), "bca")
}

func TestHostileTextsAreText(t *testing.T) {
	is := is.New(t)
	s := newSite(t, withPassword)
	hostile := `"><script>alert(1)</script>'&` + "\u202e" + strings.Repeat("x", 10<<10)
	status := serving(hostile, unhealthy(hostile, hostile))
	status.Deployment.Hosts = []string{hostile}
	s.services = []parachute.Status{status}
	s.certificates = []parachute.Certificate{{Host: hostile, Error: hostile}}
	s.recorder.Notify(parachute.Event{Time: time.Now(), Service: hostile, Kind: parachute.EventFailed, Target: hostile, Err: errors.New(hostile)})
	link := regexp.MustCompile(`href="\./(services/[^"]*)"`).FindStringSubmatch(s.get(t, "/").Body.String())
	is.True(len(link) == 2)
	for _, path := range []string{"/", "/" + html.UnescapeString(link[1]), "/events", "/events?service=%22%3E%3Cscript%3E"} {
		w := s.get(t, path)
		is.Equal(w.Code, http.StatusOK)
		text := w.Body.String()
		is.Equal(strings.Count(text, "<script"), 1) // our own
		for _, part := range strings.Split(text, "\u202e")[1:] {
			tag, quote := strings.Index(part, "<"), strings.Index(part, `"`)
			if tag < 0 { // another one follows in the same element
				continue
			}
			isEnded := quote >= 0 && quote < tag || strings.HasPrefix(part[tag:], "</bdi>") || strings.HasPrefix(part[tag:], "</title>")
			is.True(isEnded) // its direction ends where it does
		}
	}
}

func TestDeployThatWasTakenBackIsTroubleUntilTheNext(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	s.services = []parachute.Status{serving("web", healthy("10.0.0.1:80"))}
	tell := func(kind parachute.EventKind, restores uint64, err error) {
		s.recorder.Notify(parachute.Event{Time: time.Now(), Service: "web", Kind: kind, Restores: restores, Err: err})
	}
	tell(parachute.EventSwitched, 0, nil)
	tell(parachute.EventTakenBack, 1, parachute.ErrTakenBack)
	tell(parachute.EventSwitched, 1, nil) // which brings back what was
	is.True(strings.Contains(s.get(t, "/").Body.String(), ">deploy taken back<"))
	tell(parachute.EventSwitched, 0, nil)
	is.True(!strings.Contains(s.get(t, "/").Body.String(), ">deploy taken back<"))
}

func TestHistoryIsShown(t *testing.T) {
	is := is.New(t)
	s := newSite(t, func(c *page.Config) {
		c.History = func(string) ([]parachute.Past, error) {
			at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			return []parachute.Past{
				{Generation: 9, Release: "v2", By: "ci", Switched: at.Add(time.Hour)},
				{Generation: 7, Release: "<v1>", Switched: at, Ended: at.Add(time.Hour), End: "replaced"},
			}, nil
		}
	})
	s.services = []parachute.Status{serving("web", healthy("10.0.0.1:80"))}
	text := s.get(t, "/services/web").Body.String()
	is.True(strings.Contains(text, `<th scope="row">9</th><td><bdi>v2</bdi></td><td><bdi>ci</bdi></td><td>2026-01-02 04:04:05</td>`))
	is.True(strings.Contains(text, "<bdi>&lt;v1&gt;</bdi>"))
	is.True(strings.Contains(text, "replaced 2026-01-02 04:04:05"))
}

func TestOtherHostsAreRefused(t *testing.T) {
	is := is.New(t)
	s := newSite(t, func(c *page.Config) { c.Hosts = []string{"status.example.com"} })
	for host, status := range map[string]int{
		"localhost": 200, "localhost:9000": 200, "127.0.0.1:9000": 200, "[::1]:9000": 200, "127.3.2.1": 200, "a.localhost": 200,
		"status.example.com": 200, "STATUS.example.com:443": 200,
		"example.com": 421, "127.0.0.1.example.com": 421, "10.0.0.1": 421, "": 421, "localhost.example.com": 421, "xlocalhost": 421,
	} {
		if got := s.get(t, "/", "Host", host).Code; got != status {
			t.Errorf("Host %q: status %d, want %d", host, got, status)
		}
	}
	is.Equal(s.get(t, "/style.css", "Host", "example.com").Code, 421)
}

func TestPasswordIsAskedForOnEveryPath(t *testing.T) {
	is := is.New(t)
	s := newSite(t, func(c *page.Config) {
		c.Allows = func(_ context.Context, h http.Header) (bool, error) { return h.Get("Authorization") != "", nil }
	})
	for _, path := range []string{"/", "/services/web", "/services/web/log", "/events", "/live", "/style.css", "/nothing"} {
		w := s.get(t, path)
		is.Equal(w.Code, http.StatusUnauthorized)
		is.Equal(w.Header().Get("WWW-Authenticate"), `Basic realm="parachute", charset="UTF-8"`)
	}
	is.Equal(s.get(t, "/up").Code, http.StatusOK) // health checks know none
}

func TestNothingFromElsewhereIsLoaded(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	s.services = []parachute.Status{serving("web", healthy("10.0.0.1:80"))}
	for _, path := range []string{"/", "/services/web", "/events", "/style.css", "/script.js", "/icon.svg"} {
		w := s.get(t, path)
		is.Equal(w.Code, http.StatusOK)
		is.True(strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'"))
		text := strings.ReplaceAll(w.Body.String(), "http://www.w3.org/2000/svg", "")
		is.True(!strings.Contains(text, "http://") && !strings.Contains(text, "https://"))
		is.True(!strings.Contains(text, " style=")) // which the policy would refuse
	}
}

func TestChartsAreCalledAsOnTheDashboard(t *testing.T) {
	is := is.New(t)
	dashboard, err := os.ReadFile("../../../../docs/grafana.json")
	is.NoErr(err)
	s := newSite(t, nil)
	s.services = []parachute.Status{serving("web", healthy("10.0.0.1:80"))}
	titles := regexp.MustCompile(`<figcaption[^>]*>([^<]*)<`).FindAllStringSubmatch(s.get(t, "/services/web").Body.String(), -1)
	is.Equal(len(titles), 3)
	for _, title := range titles {
		is.True(strings.Contains(string(dashboard), `"title": "`+title[1]+`"`))
	}
}

func TestOnlyLooking(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		r := httptest.NewRequest(method, "/", nil)
		r.Host = "localhost"
		w := httptest.NewRecorder()
		s.page.ServeHTTP(w, r)
		is.Equal(w.Code, http.StatusMethodNotAllowed)
	}
}

func TestLinksLeadBackWhereverThePageIs(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	s.services = []parachute.Status{serving("web", healthy("10.0.0.1:80"))}
	for _, tt := range []struct{ path, prefix, style string }{
		{"/", "", "./style.css"},
		{"/services/web", "", "../style.css"},
		{"/services/web", "/admin/page", "/admin/page/style.css"},
		{"/", "/admin", "/admin/style.css"},
		{"/", "//evil.example", "./style.css"},
		{"/", `/"><script>`, "./style.css"},
	} {
		text := s.get(t, tt.path, "X-Forwarded-Prefix", tt.prefix).Body.String()
		is.True(strings.Contains(text, `<link rel="stylesheet" href="`+tt.style+`">`)) // the link that is wanted
	}
}

func TestCertificatesThatNeedSomebodyAreShown(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	now := time.Now()
	s.certificates = []parachute.Certificate{
		{Host: "fine.test", Expires: now.Add(60 * 24 * time.Hour)},
		{Host: "near.test", Expires: now.Add(24 * time.Hour)},
		{Host: "missing.test", Error: "told by the authority"},
		{Host: "over.test", Expires: now.Add(-time.Hour)},
	}
	text := s.get(t, "/").Body.String()
	is.True(!strings.Contains(text, "fine.test"))
	for _, want := range []string{"<bdi>near.test</bdi></th><td><bdi>near its end", "<bdi>missing.test</bdi></th><td><bdi>missing<", "<bdi>over.test</bdi></th><td><bdi>expired"} {
		is.True(strings.Contains(text, want)) // want is in a row
	}
}

// A reader is a client that is kept up to date.
type reader struct {
	t     *testing.T
	lines *bufio.Scanner
}

type update struct {
	Parts map[string]string   `json:"parts"`
	Order map[string][]string `json:"order"`
}

func (r *reader) next() (u update, ok bool) {
	r.t.Helper()
	for r.lines.Scan() {
		if data, is := strings.CutPrefix(r.lines.Text(), "data: "); is {
			if err := json.Unmarshal([]byte(data), &u); err != nil {
				r.t.Fatal(err)
			}
			return u, true
		}
	}
	return u, false
}

func (s *site) follow(t *testing.T, path string) *reader {
	t.Helper()
	server := httptest.NewServer(s.page)
	t.Cleanup(server.Close)
	t.Cleanup(s.page.Close)
	res, err := http.Get(server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	return &reader{t, lines}
}

func TestOnlyWhatHasChangedIsSentAgain(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	a, b := serving("a", healthy("10.0.0.1:80")), serving("b", healthy("10.0.0.2:80"))
	states := make(chan []parachute.Status, 10)
	states <- []parachute.Status{a, b}
	states <- []parachute.Status{a, b}
	states <- []parachute.Status{a, serving("b", unhealthy("10.0.0.2:80", ""))}
	c := page.Config{
		Recorder: s.recorder, Services: func() []parachute.Status { return <-states },
		Certificates: func() []parachute.Certificate { return nil },
	}
	s.page = page.New(c)
	r := s.follow(t, "/live")
	first, _ := r.next()
	is.Equal(len(first.Order["services"]), 2)
	second, _ := r.next()
	is.Equal(len(second.Parts)+len(second.Order), 0) // nothing is new
	third, _ := r.next()
	is.Equal(third.Order["services"], []string{first.Order["services"][1], first.Order["services"][0]}) // trouble moves up
	is.True(strings.Contains(third.Parts[third.Order["services"][0]], "down"))
	is.True(strings.Contains(third.Parts["summary"], "1 in trouble"))
	close(states)
}

func TestClosedPageEndsItsClients(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	r := s.follow(t, "/live")
	r.next()
	s.page.Close()
	for {
		if _, ok := r.next(); !ok {
			break
		}
	}
	is.NoErr(r.lines.Err())
}

func TestPageOfARemovedServiceSaysSo(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	s.services = []parachute.Status{serving("web", healthy("10.0.0.1:80"))}
	is.Equal(s.get(t, "/services/web").Code, http.StatusOK)
	is.Equal(s.get(t, "/services/other").Code, http.StatusNotFound)
	r := s.follow(t, "/live?service=other")
	u, ok := r.next()
	is.True(ok)
	is.True(strings.Contains(u.Parts["now"], "removed"))
	_, ok = r.next()
	is.True(!ok)
}

// run runs the recorder for a bubble's time.
func (s *site) run(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.recorder.Run(ctx, func() []parachute.Status { return s.services })
	}()
	t.Cleanup(func() { stop(); <-done })
	synctest.Wait()
}

func TestFiguresAreOfTheLastMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newSite(t, nil)
		s.services = []parachute.Status{serving("web", healthy("10.0.0.1:80"))}
		s.run(t)
		observe := func(status int, took time.Duration) {
			s.recorder.Observe(nil, parachute.Outcome{Service: "web", Target: "10.0.0.1:80", Status: status, Duration: took})
		}
		for range 60 { // at the ends of a step, a second may count for either
			for range 9 {
				observe(200, 10*time.Millisecond)
			}
			observe(500, time.Second)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second / 10)
		text := s.get(t, "/").Body.String()
		is.True(regexp.MustCompile(`<td class="n">(9\.[89]|10)<`).MatchString(text))
		is.True(strings.Contains(text, `<td class="n">10.0 %<`))
		is.True(strings.Contains(text, ">errors<")) // which is trouble
		is.True(regexp.MustCompile(`<td class="n">(9|10|11)(\.\d)?ms<`).MatchString(text))
		is.True(regexp.MustCompile(`<td class="n">(1(\.\d)?s|9\d\dms)<`).MatchString(text))
		time.Sleep(2 * time.Minute)
		is.True(strings.Contains(s.get(t, "/").Body.String(), `<td class="n">0<`))
	})
}

func TestAnHourIsKeptAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newSite(t, nil)
		s.services = []parachute.Status{serving("web", healthy("10.0.0.1:80"))}
		s.run(t)
		s.recorder.Observe(nil, parachute.Outcome{Service: "web", Target: "10.0.0.1:80", Status: 404, Duration: time.Millisecond})
		time.Sleep(59 * time.Minute)
		is.True(strings.Contains(s.get(t, "/services/web").Body.String(), "4xx: at most 0.1/s"))
		time.Sleep(2 * time.Minute)
		is.True(strings.Contains(s.get(t, "/services/web").Body.String(), "4xx: at most 0/s,"))
	})
}

func TestEventsAreFoundByServiceAndKind(t *testing.T) {
	is := is.New(t)
	s := newSite(t, nil)
	for i := range 600 {
		s.recorder.Notify(parachute.Event{Time: time.Now(), Service: fmt.Sprintf("app-%d", i%2), Generation: uint64(i), Kind: parachute.EventSwitched})
	}
	s.recorder.Notify(parachute.Event{Time: time.Now(), Service: "app-0", Kind: parachute.EventFailed, Err: parachute.ErrConflict})
	count := func(path string) int { return strings.Count(s.get(t, path).Body.String(), "<tr class=") }
	is.Equal(count("/events"), 500)
	is.Equal(count("/events?service=app-1"), 250)
	is.Equal(count("/events?kind=failed"), 1)
	is.Equal(count("/events?service=app-1&kind=failed"), 0)
}
