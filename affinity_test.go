package parachute_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

const affinityCookie = "parachute-affinity="

// A stayer is a visitor with the cookies of a browser.
type stayer struct {
	h       *house
	cookies map[string]string // by name
	set     int               // how often the cookie of the affinity was set
}

func (h *house) stayer() *stayer { return &stayer{h: h, cookies: map[string]string{}} }

// visit returns what answered.
func (s *stayer) visit(method, path string) string {
	var sent []string
	for name, value := range s.cookies {
		sent = append(sent, name+"="+value)
	}
	resp, body := s.h.answer(method, path, "", "Cookie", strings.Join(sent, "; "))
	for _, c := range resp.Cookies() {
		s.cookies[c.Name] = c.Value
		if c.Name == "parachute-affinity" {
			s.set++
		}
	}
	return body
}

// crowd serves an app that answers with its name, at each address NAME.test:80.
func (h *house) crowd(names ...string) (targets []string, apps map[string]*proxytest.Backend) {
	apps = make(map[string]*proxytest.Backend)
	for _, name := range names {
		apps[name] = h.app(name, name+".test:80")
		targets = append(targets, name+".test:80")
	}
	return targets, apps
}

// sticky returns the deployment of a service whose visitors stay with a target.
func sticky(targets ...string) parachute.Deployment {
	return parachute.Deployment{Service: "web", Targets: targets, Affinity: "cookie"}
}

func TestVisitorStaysWithTheTargetThatAnsweredFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		targets, _ := h.crowd("a", "b", "c")
		is.NoErr(h.Deploy(t.Context(), sticky(targets...)))
		seen := map[string]bool{}
		for range 50 {
			s := h.stayer()
			first := s.visit("GET", "/")
			seen[first] = true
			for i, method := range []string{"POST", "GET", "HEAD", "DELETE", "GET"} {
				if again := s.visit(method, fmt.Sprint("/", i)); method != "HEAD" {
					is.Equal(again, first)
				}
			}
			is.Equal(s.set, 1) // by the first answer
		}
		is.Equal(len(seen), 3) // the visitors are spread
	})
}

func TestAffinityCookieTellsNothingAndIsForTheServiceAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		targets, _ := h.crowd("a", "b", "c")
		d := sticky(targets...)
		d.Affinity, d.PathPrefixes = "cookie=sid", []string{"/api"}
		is.NoErr(h.Deploy(t.Context(), d))
		resp, name := h.answer("GET", "/api/x", "", "X-Forwarded-Proto", "https")
		is.Equal(len(resp.Cookies()), 1)
		c := resp.Cookies()[0]
		is.Equal(c.Name, "sid")
		is.Equal(c.Path, "/api")
		is.True(c.HttpOnly && c.Secure)
		is.Equal(c.SameSite, http.SameSiteLaxMode)
		is.True(!strings.Contains(c.Value, name+".test"))
		resp, _ = h.answer("GET", "/api/x", "")
		is.True(!resp.Cookies()[0].Secure) // over plain HTTP
		is.True(resp.Cookies()[0].Value != c.Value)
	})
}

func TestForgedAffinityCookieIsNoMoreThanNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		targets, _ := h.crowd("a", "b", "c")
		is.NoErr(h.Deploy(t.Context(), sticky(targets...)))
		for _, value := range []string{"", "a.test:80", "ABCD.ABCDEFGH", "../..", strings.Repeat("x", 4000), "1;2"} {
			s := h.stayer()
			s.cookies["parachute-affinity"] = value
			first := s.visit("GET", "/")
			is.True(strings.Contains("abc", first) && first != "") // value
			is.Equal(s.set, 1)
			is.Equal(s.visit("GET", "/"), first)
		}
	})
}

func TestVisitorMovesOnceOverADeploy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		old, _ := h.crowd("a", "b", "c")
		next, _ := h.crowd("d", "e", "f")
		is.NoErr(h.Deploy(t.Context(), sticky(old...)))
		var all []*stayer
		for range 30 {
			s := h.stayer()
			s.visit("GET", "/")
			all = append(all, s)
		}
		is.NoErr(h.Deploy(t.Context(), sticky(next...)))
		seen := map[string]bool{}
		for _, s := range all {
			cookie := s.cookies["parachute-affinity"]
			first := s.visit("GET", "/")
			is.True(strings.Contains("def", first))
			seen[first] = true
			other := h.stayer() // a request that was under way at the same time
			other.cookies["parachute-affinity"] = cookie
			is.Equal(other.visit("GET", "/"), first)
			for range 5 {
				is.Equal(s.visit("GET", "/"), first)
			}
			is.Equal(s.set, 2)
		}
		is.True(len(seen) > 1)
	})
}

func TestVisitorStaysWithATargetThatADeployKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		targets, _ := h.crowd("a", "b", "c", "d")
		is.NoErr(h.Deploy(t.Context(), sticky(targets[:3]...)))
		for _, now := range [][]string{{targets[2], targets[0], targets[3], targets[1]}, {targets[3], targets[0]}, targets} {
			s := h.stayer()
			for s.visit("GET", "/") != "a" {
				s = h.stayer()
			}
			is.NoErr(h.Deploy(t.Context(), sticky(now...)))
			for range 10 {
				is.Equal(s.visit("GET", "/"), "a")
			}
			is.Equal(s.set, 1)
		}
	})
}

func TestVisitorStaysOverARestartWithTheSameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		opts := parachute.Options{AffinityKey: []byte("0123456789abcdef")}
		h := newHouse(t, opts)
		targets, _ := h.crowd("a", "b", "c")
		is.NoErr(h.Deploy(t.Context(), sticky(targets...)))
		s := h.stayer()
		first := s.visit("GET", "/")
		opts.Dial = h.net.Dial
		restarted := parachute.New(opts)
		defer restarted.Close()
		is.NoErr(restarted.Restore(h.Services()))
		h.net.Serve(t, "again.test:80", restarted).SetHealth(0)
		for range 5 {
			r, err := http.NewRequest("GET", "http://again.test/", nil)
			is.NoErr(err)
			r.Header.Set("Cookie", affinityCookie+s.cookies["parachute-affinity"])
			is.Equal(h.do(r), "200 "+first)
		}
	})
}

func TestVisitorMovesAwayFromATargetThatIsDownAndDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		targets, apps := h.crowd("a", "b", "c")
		is.NoErr(h.Deploy(t.Context(), sticky(targets...)))
		s := h.stayer()
		first := s.visit("GET", "/")
		apps[first].Stop() // nothing listens, and no probe has seen that yet
		second := s.visit("GET", "/")
		is.True(second != first)
		is.Equal(s.set, 2)
		time.Sleep(5 * time.Second)
		is.Equal(s.visit("GET", "/"), second)
		apps[first].Start()
		time.Sleep(5 * time.Second)
		for range 10 {
			is.Equal(s.visit("GET", "/"), second)
		}
		is.Equal(s.set, 2)
	})
}

func TestVisitorMovesAwayFromAnUnhealthyTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		targets, apps := h.crowd("a", "b", "c")
		is.NoErr(h.Deploy(t.Context(), sticky(targets...)))
		s := h.stayer()
		first := s.visit("GET", "/")
		apps[first].SetHealth(503)
		time.Sleep(5 * time.Second)
		second := s.visit("GET", "/")
		is.True(second != first)
		for _, app := range apps {
			app.SetHealth(503)
		}
		time.Sleep(5 * time.Second)
		for range 5 {
			is.Equal(s.visit("GET", "/"), second) // where all are unhealthy it is as good as any other
		}
		is.Equal(s.set, 2)
	})
}

func TestAnswerOfTheProxyItselfSetsNoAffinityCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		_, apps := h.crowd("a")
		d := sticky("a.test:80")
		d.Timeouts.Hold = -1
		is.NoErr(h.Deploy(t.Context(), d))
		apps["a"].Stop()
		resp, _ := h.answer("GET", "/", "")
		is.Equal(resp.StatusCode, 502)
		is.Equal(resp.Header["Set-Cookie"], nil)
	})
}

func TestVisitorStaysWithOneReaderAndOneWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		writers, _ := h.crowd("v", "w")
		readers, apps := h.crowd("q", "r", "s")
		d := sticky(writers...)
		d.ReadTargets, d.Timeouts.WriterAffinity = readers, -1
		is.NoErr(h.Deploy(t.Context(), d))
		for range 10 {
			s := h.stayer()
			reader, writer := s.visit("GET", "/"), s.visit("POST", "/")
			is.True(strings.Contains("qrs", reader))
			is.True(strings.Contains("vw", writer))
			for range 5 {
				is.Equal(s.visit("GET", "/"), reader)
				is.Equal(s.visit("POST", "/"), writer)
			}
			is.Equal(s.set, 2) // one for each
		}
		s := h.stayer()
		reader, writer := s.visit("GET", "/"), s.visit("POST", "/")
		apps[reader].SetHealth(503)
		time.Sleep(5 * time.Second)
		is.True(s.visit("GET", "/") != reader)
		is.Equal(s.visit("POST", "/"), writer) // which is none of the reader's business
	})
}

func TestVisitorStaysWithinTheirSideOfARollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		main, _ := h.crowd("a", "b")
		second, _ := h.crowd("c", "d")
		is.NoErr(h.Deploy(t.Context(), sticky(main...)))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: second, Split: parachute.Split{Percent: 50}}))
		seen := map[string]bool{}
		for range 50 {
			s := h.stayer()
			first := s.visit("GET", "/")
			seen[first] = true
			for range 5 {
				is.Equal(s.visit("GET", "/"), first)
			}
		}
		is.Equal(len(seen), 4)
	})
}

func TestUpgradeSetsTheAffinityCookieAndFollowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		var targets []string
		for _, name := range []string{"a", "b", "c"} {
			h.net.Script(t, name+".test:80", func(conn net.Conn, _ int) {
				head, err := proxytest.ReadHead(conn)
				if err != nil || strings.HasPrefix(head, "GET /up ") {
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
					return
				}
				fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\nX-Name: %s\r\nSet-Cookie: app=1\r\n\r\n", name)
			})
			targets = append(targets, name+".test:80")
		}
		is.NoErr(h.Deploy(t.Context(), sticky(targets...)))
		upgrade := func(cookie string) *http.Response {
			conn, err := h.net.Dial(t.Context(), "tcp", "proxy.test:80")
			is.NoErr(err)
			defer conn.Close()
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: x\r\nCookie: %s\r\n\r\n", cookie)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			is.NoErr(err)
			is.Equal(resp.StatusCode, 101)
			return resp
		}
		for range 10 {
			first := upgrade("")
			is.Equal(len(first.Cookies()), 2) // with the app's
			again := upgrade(strings.Split(first.Header["Set-Cookie"][0], ";")[0])
			is.Equal(again.Header.Get("X-Name"), first.Header.Get("X-Name"))
			is.Equal(again.Header["Set-Cookie"], []string{"app=1"})
		}
	})
}

func TestAffinityThatCannotBeIsRefused(t *testing.T) {
	is := is.New(t)
	p := parachute.New(parachute.Options{})
	defer p.Close()
	err := p.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"a.test:80"}, Affinity: "ip"})
	is.True(errors.Is(err, parachute.ErrInvalid))
	is.True(strings.Contains(err.Error(), `affinity "ip": want "cookie"`))
}
