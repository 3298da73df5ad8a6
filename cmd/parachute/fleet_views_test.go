package main

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// serving returns what a proxy says of a service with one target.
func serving(name string, generation uint64, target string, health parachute.Health) parachute.Status {
	return parachute.Status{
		Service: name, Generation: generation, State: parachute.StateServing,
		Deployment: parachute.Deployment{Targets: []string{target}, Hosts: []string{name + ".test"}},
		Live:       &parachute.Live{Targets: []parachute.TargetStatus{{Address: target, Health: health}}},
	}
}

// threeProxies are of one mind about api, and not about web and zoo.
func threeProxies() []control.Told {
	api, web := serving("api", 3, "a:1", parachute.HealthHealthy), serving("web", 4, "b:1", parachute.HealthHealthy)
	far, old := serving("web", 4, "b:1", parachute.HealthUnhealthy), serving("zoo", 5, "c:1", parachute.HealthHealthy)
	busy := serving("api", 3, "a:1", parachute.HealthHealthy)
	busy.Live.Targets[0].Requests = 7
	busy.Live.Since = time.Now()
	return []control.Told{
		{Name: "eu-1", Self: true, Services: []parachute.Status{api, web, old}, Records: map[string]int64{"api": 10, "web": 12, "zoo": 13}},
		{Name: "eu-2", Services: []parachute.Status{busy, web}, Records: map[string]int64{"api": 10, "web": 12}},
		{Name: "us-1", Services: []parachute.Status{serving("api", 3, "a:1", parachute.HealthHealthy), far, old}, Records: map[string]int64{"api": 10, "web": 12, "zoo": 13}},
	}
}

func TestListOfAFleetBeginsWithWhatDiffers(t *testing.T) {
	is := is.New(t)
	is.Equal(newFleetAnswers(threeProxies()).serviceList().text(0), `SERVICE  PROXIES     STATE      HOSTS     TLS  TARGETS          GENERATION  REVISION
web      eu-1, eu-2  serving    web.test  off  b:1 (healthy)    4           12
web      us-1        serving    web.test  off  b:1 (unhealthy)  4           12
zoo      eu-1, us-1  serving    zoo.test  off  c:1 (healthy)    5           13
zoo      eu-2        not there  -         -    -                -           -
api      all 3       serving    api.test  off  a:1 (healthy)    3           10
`)
}

func TestProxyThatIsNotAtTheNewestRevisionIsARowOfItsOwn(t *testing.T) {
	is := is.New(t)
	web := serving("web", 4, "b:1", parachute.HealthHealthy)
	is.Equal(newFleetAnswers([]control.Told{
		{Name: "eu-1", Services: []parachute.Status{web}, Records: map[string]int64{"web": 14}},
		{Name: "eu-2", Services: []parachute.Status{web}, Records: map[string]int64{"web": 12}},
	}).serviceList().text(0), `SERVICE  PROXIES  STATE    HOSTS     TLS  TARGETS        GENERATION  REVISION
web      eu-1     serving  web.test  off  b:1 (healthy)  4           14
web      eu-2     serving  web.test  off  b:1 (healthy)  4           12
`)
}

func TestListOfAFleetAddsUpWhatIsHeld(t *testing.T) {
	is := is.New(t)
	told := threeProxies()[:2]
	for i := range told {
		s := serving("web", 4, "b:1", parachute.HealthHealthy)
		s.State, s.Live.Held = parachute.StatePaused, int64(3+i)
		told[i].Services = []parachute.Status{s}
	}
	is.Equal(newFleetAnswers(told).serviceList().text(0), `SERVICE  PROXIES  STATE            HOSTS     TLS  TARGETS        GENERATION  REVISION
web      all 2    paused (7 held)  web.test  off  b:1 (healthy)  4           12
`)
}

func TestProxyThatIsNotSeenIsNoneOfAll(t *testing.T) {
	is := is.New(t)
	told := append(threeProxies(), control.Told{Name: "us-2", Error: "it did not answer within 5s"})
	s := newFleetAnswers(told)
	is.Equal(s.cell([]string{"eu-1", "eu-2", "us-1"}).text(), "all 3 seen")
	is.Equal(s.err("list").Error(), "list: 1 of 4 proxies of the fleet did not say what they have: us-2")
	is.NoErr(newFleetAnswers(threeProxies()).err("list"))
}

func TestStatusOfAFleetShowsEachTargetAsEachProxySeesIt(t *testing.T) {
	is := is.New(t)
	told := threeProxies()
	told[0].Services[0].Live.Changes = []parachute.Change{{Kind: parachute.EventDraining, Requests: 2}}
	for i := range told {
		for j := range told[i].Services {
			told[i].Services[j].Live.Since = time.Time{}
		}
	}
	r := &report{modes: newFleetAnswers(told).modes()}
	is.Equal(r.textOf(newFleetAnswers(told), 0), `service  web
proxies  eu-1, eu-2
state    serving, generation 4
hosts    web.test
tls      off

PROXY  TARGET  HEALTH   LAST PROBE  IN FLIGHT  REQ/S  ERRORS  P50  P99
eu-1   b:1     healthy  -           0          0      -       -    -
eu-2   b:1     healthy  -           0          0      -       -    -

service  web
proxies  us-1
state    serving, generation 4
hosts    web.test
tls      off

PROXY  TARGET  HEALTH     LAST PROBE  IN FLIGHT  REQ/S  ERRORS  P50  P99
us-1   b:1     unhealthy  -           0          0      -       -    -

service  zoo
proxies  eu-1, us-1
state    serving, generation 5
hosts    zoo.test
tls      off

PROXY  TARGET  HEALTH   LAST PROBE  IN FLIGHT  REQ/S  ERRORS  P50  P99
eu-1   c:1     healthy  -           0          0      -       -    -
us-1   c:1     healthy  -           0          0      -       -    -

service  zoo
proxies  eu-2
state    not there

service  api
proxies  all 3
state    serving, generation 3
hosts    api.test
tls      off
now      eu-1: draining since 0s: 2 requests

PROXY  TARGET  HEALTH   LAST PROBE  IN FLIGHT  REQ/S  ERRORS  P50  P99
eu-1   a:1     healthy  -           0          0      -       -    -
eu-2   a:1     healthy  -           7          0      -       -    -
us-1   a:1     healthy  -           0          0      -       -    -
`)
}

func TestCertificatesOfAFleetDifferByWhatTheyAreAndNotByWhoRenewsThem(t *testing.T) {
	is := is.New(t)
	at := func(day int) time.Time { return time.Date(2026, 5, day, 12, 0, 0, 0, time.UTC) }
	good := parachute.Certificate{Host: "a.test", Source: parachute.TLSAutomatic, Issuer: "R3", Expires: at(30), Renews: at(20)}
	later, failing := good, good
	later.Renews = at(10)
	failing.Host = "b.test"
	fine := failing
	failing.Error = "no such host"
	is.Equal(newFleetAnswers([]control.Told{
		{Name: "eu-1", Certificates: []parachute.Certificate{good, failing}},
		{Name: "eu-2", Certificates: []parachute.Certificate{later, fine}},
		{Name: "eu-3", Certificates: []parachute.Certificate{later}},
	}).certificateTable().text(0), `HOST    PROXIES  ISSUER     SOURCE     EXPIRES               RENEWS
b.test  eu-1     R3         automatic  2026-05-30 12:00 UTC  2026-05-20 12:00 UTC
b.test  eu-2     R3         automatic  2026-05-30 12:00 UTC  2026-05-20 12:00 UTC
b.test  eu-3     not there  -          -                     -
a.test  all 3    R3         automatic  2026-05-30 12:00 UTC  2026-05-10 12:00 UTC
b.test: no such host
`)
}

func TestHistoryOfAFleetAddsUpRequestsAndShowsWhoHasWhat(t *testing.T) {
	is := is.New(t)
	past := func(service string, generation, requests, errors uint64, p99 time.Duration, ended bool) parachute.Past {
		h := parachute.Past{Service: service, Generation: generation, Targets: []string{"a:1"}, Figures: parachute.Figures{Requests: requests, Errors: errors, P50: time.Millisecond, P99: p99}}
		if ended {
			h.End, h.Ended = "replaced", time.Unix(1, 0)
		}
		return h
	}
	told := []control.Told{
		{Name: "eu-1", History: []parachute.Past{past("api", 2, 10, 0, time.Second, false), past("web", 10, 100, 5, time.Second, false), past("web", 9, 1, 0, time.Second, true)}},
		{Name: "eu-2", History: []parachute.Past{past("api", 2, 10, 0, time.Second, false), past("web", 10, 100, 15, 2*time.Second, false)}},
	}
	is.Equal(newFleetAnswers(told).historyTable(true).text(0), `SERVICE  GENERATION  PROXIES  RELEASE  BY  SWITCHED  SERVED  END       REQUESTS  ERRORS  P50  P99  TARGETS
web      10          all 2    -        -   -         -       serves    200       10%     1ms  2s   a:1
web      9           eu-1     -        -   -         -       replaced  1         0%      1ms  1s   a:1
api      2           all 2    -        -   -         -       serves    20        0%      1ms  1s   a:1
`)
}
