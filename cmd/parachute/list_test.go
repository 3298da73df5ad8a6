package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestListTellsWhatEachTargetIsFor(t *testing.T) {
	out := serviceList([]parachute.Status{{
		Service: "web", Generation: 3, State: parachute.StatePaused,
		Rollout: &parachute.Rollout{Split: parachute.Split{Percent: 10, List: []string{"v1", "\x1b[31m"}}},
		Live: &parachute.Live{Held: 7, Targets: []parachute.TargetStatus{
			{Address: "a:1", Health: parachute.HealthHealthy},
			{Address: "b:1", Health: parachute.HealthUnhealthy, Reads: true},
			{Address: "c:1", Health: parachute.HealthUnknown, Rollout: true},
			{Address: "d:1", Health: parachute.HealthHealthy, Rollout: true, Reads: true},
		}},
	}, {
		Service: "shop", State: parachute.StateStopped, Stop: &parachute.Stop{Message: "Back at noon"},
		Deployment: parachute.Deployment{Targets: []string{"e:1"}, ReadTargets: []string{"f:1"}},
	}}).text(0)
	said := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{
		"web paused (7 held) any off b:1 (reads, unhealthy), c:1 (rollout, unknown), a:1 (healthy), d:1 (rollout, reads, healthy) 3",
		"web: rollout for 10 % and v1, \ufffd[31m",
		"shop stopped any off e:1,f:1 0",
		"shop: stopped: Back at noon",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%s\nlacks: %s", out, want)
		}
	}
}

func TestTableShowsWhyAServiceHasFailed(t *testing.T) {
	is := is.New(t)
	is.Equal(serviceList([]parachute.Status{
		{Service: "api", Generation: 12, State: parachute.StateServing,
			Deployment: parachute.Deployment{Hosts: []string{"a.test", "b.test"}},
			Live: &parachute.Live{Targets: []parachute.TargetStatus{
				{Address: "10.0.0.7:3000", Health: parachute.HealthHealthy},
				{Address: "10.0.0.8:3000", Health: parachute.HealthUnhealthy},
			}}},
		{Service: "web", Generation: 3, State: parachute.StateFailed, Error: "certificate is gone",
			Deployment: parachute.Deployment{Targets: []string{"10.0.0.9:3000"}}, Live: &parachute.Live{}},
	}).text(0), `SERVICE  STATE    HOSTS          TLS  TARGETS                                             GENERATION
api      serving  a.test,b.test  off  10.0.0.8:3000 (unhealthy), 10.0.0.7:3000 (healthy)  12
web      failed   any            off  10.0.0.9:3000                                       3
web: certificate is gone
`)
}

func TestTableShowsPathsAndTheTLSOfTheHost(t *testing.T) {
	is := is.New(t)
	service := func(name string, mode parachute.TLSMode, hosts, prefixes []string) parachute.Status {
		return parachute.Status{Service: name, State: parachute.StateServing, Deployment: parachute.Deployment{
			Hosts: hosts, PathPrefixes: prefixes, Targets: []string{"a:1"}, TLS: parachute.TLS{Mode: mode},
		}}
	}
	is.Equal(serviceList([]parachute.Status{
		service("api", parachute.TLSInherit, []string{"a.test"}, []string{"/api", "/v1"}),
		service("both", parachute.TLSInherit, []string{"a.test", "c.test"}, []string{"/both"}),
		service("certs", parachute.TLSFiles, []string{"*.b.test"}, nil),
		service("rest", parachute.TLSOnDemand, nil, nil),
		service("web", parachute.TLSAutomatic, []string{"a.test"}, nil),
	}).text(0), `SERVICE  STATE    HOSTS                    TLS            TARGETS  GENERATION
api      serving  a.test/api,a.test/v1     automatic      a:1      0
both     serving  a.test/both,c.test/both  automatic,off  a:1      0
certs    serving  *.b.test                 files          a:1      0
rest     serving  any                      on-demand      a:1      0
web      serving  a.test                   automatic      a:1      0
`)
}

func TestVisitorsOfARolloutAreTold(t *testing.T) {
	is := is.New(t)
	is.Equal(visitors(parachute.Split{}), "nobody")
	is.Equal(visitors(parachute.Split{Percent: 10}), "10 %")
	is.Equal(visitors(parachute.Split{List: []string{"v1", "v2"}}), "v1, v2")
	is.Equal(visitors(parachute.Split{CookieOnly: true}), "nobody")
	is.Equal(visitors(parachute.Split{Percent: 10, List: []string{"v1"}, CookieOnly: true}), "10 % of those with a cookie and v1")
	is.Equal(visitors(parachute.Split{Percent: 10, List: []string{"v1"}}), "10 % and v1")
}

// manyServices returns services with all that a list has to deal with.
func manyServices() []parachute.Status {
	var all []parachute.Status
	states := []parachute.State{parachute.StateServing, parachute.StatePaused, parachute.StateStopped, parachute.StateFailed}
	for i := range 12 {
		s := parachute.Status{Service: fmt.Sprintf("service-%d", i), State: states[i%4], Generation: uint64(i * 997), Live: &parachute.Live{Held: int64(i % 3)}}
		for j := range i {
			s.Deployment.Hosts = append(s.Deployment.Hosts, fmt.Sprintf("host-%d.%s.example.com", j, strings.Repeat("x", i*j/2)))
			health := []parachute.Health{parachute.HealthHealthy, parachute.HealthUnknown, parachute.HealthUnhealthy}[i*j%3]
			s.Live.Targets = append(s.Live.Targets, parachute.TargetStatus{Address: fmt.Sprintf("10.%d.%d.7:3000", i, j), Health: health, Reads: j%2 == 0})
		}
		all = append(all, s)
	}
	wide := parachute.Status{Service: strings.Repeat("店", 40), State: parachute.StateStopped, Stop: &parachute.Stop{Message: strings.Repeat("休業中", 60)}, Live: &parachute.Live{}}
	for i := range 50 {
		wide.Live.Targets = append(wide.Live.Targets, parachute.TargetStatus{Address: fmt.Sprintf("[2001:db8::%x]:3000", i+4096), Health: parachute.HealthHealthy})
	}
	wide.Live.Targets = append(wide.Live.Targets, parachute.TargetStatus{Address: "unix:/" + strings.Repeat("e\u0301", 60), Health: parachute.HealthUnhealthy})
	wide.Deployment.Hosts = []string{strings.Repeat(strings.Repeat("y", 61)+".", 4) + "test"}
	return append(all, wide)
}

func TestListHidesNothingThatMattersAtAnyWidth(t *testing.T) {
	services := manyServices()
	var wanted []string
	hidden := 0 // healthy targets that some width has no room for
	for _, s := range services {
		wanted = append(wanted, s.Service, strings.ReplaceAll(stateText(s), " ", ""))
		wanted = append(wanted, s.Deployment.Hosts...)
		for _, target := range s.Live.Targets {
			if target.Health == parachute.HealthUnhealthy {
				wanted = append(wanted, target.Address+"("+strings.Join(append(rolesOf(target), "unhealthy"), ",")+")")
			}
		}
	}
	for columns := 20; columns <= 200; columns++ {
		text := serviceList(services).text(columns)
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); displayWidth(line) > columns || strings.TrimRight(line, " ") != line {
				t.Fatalf("in %d columns: %q", columns, line)
			}
		}
		// In a table what belongs together may stand below each other; in a card
		// it is one text.
		if !strings.HasPrefix(text, "SERVICE") {
			text = strings.Join(strings.Fields(text), "")
			for _, want := range wanted {
				if !strings.Contains(text, want) {
					t.Fatalf("in %d columns: no %s in\n%s", columns, want, serviceList(services).text(columns))
				}
			}
		}
		if strings.Contains(text, "healthy,+") || strings.Contains(text, "(healthy),+") {
			hidden++
		}
	}
	is.New(t).True(hidden > 0) // or nothing was tried
}

func TestListInATableHidesNothingThatMattersEither(t *testing.T) {
	services := manyServices()[:6]
	for _, s := range services {
		for i := range s.Deployment.Hosts {
			s.Deployment.Hosts[i] = fmt.Sprintf("host-%d.example.com", i)
		}
	}
	tables := 0
	for columns := 20; columns <= 200; columns++ {
		text := serviceList(services).text(columns)
		if strings.HasPrefix(text, "SERVICE") {
			tables++
		}
		for _, s := range services {
			for _, want := range append([]string{s.Service, string(s.State)}, s.Deployment.Hosts...) {
				if !strings.Contains(text, want) {
					t.Fatalf("in %d columns: no %s in\n%s", columns, want, text)
				}
			}
			for _, target := range s.Live.Targets {
				if target.Health == parachute.HealthUnhealthy && !strings.Contains(text, target.Address) {
					t.Fatalf("in %d columns: no %s in\n%s", columns, target.Address, text)
				}
			}
		}
	}
	is.New(t).True(tables > 50)
}

func TestListCountsTheTargetsThatItLeavesOut(t *testing.T) {
	is := is.New(t)
	s := parachute.Status{Service: "web", State: parachute.StateServing, Generation: 7, Live: &parachute.Live{}}
	for i := range 9 {
		health := parachute.HealthHealthy
		switch i {
		case 3, 8:
			health = parachute.HealthUnhealthy
		case 4:
			health = parachute.HealthUnknown
		}
		s.Live.Targets = append(s.Live.Targets, parachute.TargetStatus{Address: fmt.Sprintf("10.0.0.%d:3000", i), Health: health})
	}
	s.Deployment.Hosts = []string{"app1.example.com", "www.example.com"}
	list := serviceList([]parachute.Status{s})
	is.Equal(list.text(80), `SERVICE  STATE    HOSTS              TLS  TARGETS                     GENERATION
web      serving  app1.example.com,  off  10.0.0.3:3000 (unhealthy),  7
                  www.example.com         10.0.0.8:3000 (unhealthy),
                                          10.0.0.4:3000 (unknown),
                                          +6 healthy
`)
	is.Equal(list.text(40), `service     web
state       serving
hosts       app1.example.com,
            www.example.com
tls         off
targets     10.0.0.3:3000 (unhealthy),
            10.0.0.8:3000 (unhealthy),
            10.0.0.4:3000 (unknown),
            +6 healthy
generation  7
`)
	is.Equal(list.text(20), `service     web
state       serving
hosts
  app1.example.com,
  www.example.com
tls         off
targets
  10.0.0.3:3000
  (unhealthy),
  10.0.0.8:3000
  (unhealthy),
  +1 unknown,
  +6 healthy
generation  7
`)
}

func TestListTellsWhatProtectsAndBoundsAService(t *testing.T) {
	is := is.New(t)
	d := parachute.Deployment{
		Targets:         []string{"a:1"},
		Hosts:           []string{"app1.example.com"},
		CanonicalHost:   "app1.example.com",
		Affinity:        "cookie=sid",
		Redirects:       []parachute.Redirect{{From: "/old", To: "/new"}},
		MaxRequestBody:  10 << 20,
		MaxResponseBody: 1000,
		Access:          parachute.Access{Allow: []string{"10.0.0.0/8"}, Deny: []string{"10.0.0.7"}, BasicAuthFile: "/etc/web.htpasswd"},
		Headers: parachute.Headers{
			Request: []string{"set X-Token: s3cret", "del X-Debug"}, Response: []string{"set X-Key:s3cret"},
			HSTS: "max-age=31536000", ScopeCookies: true, RewriteLocation: true,
		},
	}
	list := serviceList([]parachute.Status{{Service: "web", State: parachute.StateServing, Deployment: d}})
	is.Equal(list.text(0), `SERVICE  STATE    HOSTS             TLS  TARGETS  GENERATION
web      serving  app1.example.com  off  a:1      0
web: access: allow 10.0.0.0/8, deny 10.0.0.7, passwords of /etc/web.htpasswd; limits: request body 10MiB, response body 1000; canonical: app1.example.com; affinity: cookie=sid; redirects: /old to /new; headers: request set X-Token, request del X-Debug, response set X-Key, HSTS max-age=31536000, cookie paths scoped, locations rewritten
`)
	r := report{services: []parachute.Status{{Service: "web", State: parachute.StateServing, Deployment: d}}}
	is.Equal(r.text(60), `service    web
state      serving, generation 0
hosts      app1.example.com
tls        off
access     allow 10.0.0.0/8, deny 10.0.0.7,
           passwords of /etc/web.htpasswd
limits     request body 10MiB, response body 1000
canonical  app1.example.com
affinity   cookie=sid
redirects  /old to /new
headers    request set X-Token, request del X-Debug,
           response set X-Key, HSTS max-age=31536000,
           cookie paths scoped, locations rewritten
`)
}
