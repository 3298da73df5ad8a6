package routing_test

import (
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/routing"
)

// nobody has reserved anything.
func nobody(func(string, routing.Wants) bool) {}

// reserved yields what one service has reserved, after an unrelated one.
func reserved(service string, policy routing.Policy, claims ...string) iter.Seq2[string, routing.Wants] {
	return func(yield func(string, routing.Wants) bool) {
		if yield("unrelated", routing.Wants{Claims: claimsOf("unrelated.test")}) {
			yield(service, routing.Wants{Claims: claimsOf(claims...), Policy: policy})
		}
	}
}

func wants(policy routing.Policy, claims ...string) routing.Wants {
	return routing.Wants{Claims: claimsOf(claims...), Policy: policy}
}

var canonical = routing.Policy{Canonical: "app.test"}

const dispute = `has TLS mode "files", and this one "off"`

func TestClaimIsOneServices(t *testing.T) {
	off := routing.Policy{TLS: routing.TLS{Mode: routing.Off}}
	table := tableOf(
		on("web", secure, "app.test", "*.test"),
		on("api", open, "app.test/api", hostname.Any),
	)
	for name, tt := range map[string]struct {
		service string
		wants   routing.Wants
		pending iter.Seq2[string, routing.Wants]
		want    *routing.Conflict
	}{
		"another host":        {"new", wants(off, "other.test"), nobody, nil},
		"another prefix":      {"new", wants(open, "app.test/new"), nobody, nil},
		"its own":             {"web", wants(off, "app.test"), nobody, nil},
		"another's":           {"new", wants(open, "free.test", "app.test/api"), nobody, &routing.Conflict{Host: "app.test", Prefix: "/api", Owner: "api"}},
		"a wildcard":          {"new", wants(open, "*.test"), nobody, &routing.Conflict{Host: "*.test", Owner: "web"}},
		"any host":            {"new", wants(open, hostname.Any), nobody, &routing.Conflict{Owner: "api"}},
		"another policy":      {"new", wants(off, "app.test/new"), nobody, &routing.Conflict{Host: "app.test", Owner: "web", Dispute: dispute}},
		"a policy that joins": {"new", wants(canonical, "app.test/new"), nobody, nil},

		"reserved":               {"new", wants(open, "new.test"), reserved("late", open, "new.test"), &routing.Conflict{Host: "new.test", Owner: "late"}},
		"reserved for itself":    {"new", wants(open, "new.test"), reserved("new", open, "new.test"), nil},
		"reserved nearby":        {"new", wants(open, "new.test/x"), reserved("late", open, "new.test"), nil},
		"reserved policy":        {"new", wants(off, "new.test/x"), reserved("late", secure, "new.test"), &routing.Conflict{Host: "new.test", Owner: "late", Dispute: dispute}},
		"reserved and served":    {"new", wants(open, "app.test"), reserved("late", open, "app.test"), &routing.Conflict{Host: "app.test", Owner: "web"}},
		"the first claim counts": {"new", wants(open, "new.test", "app.test"), reserved("late", open, "new.test"), &routing.Conflict{Host: "new.test", Owner: "late"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(table.Conflict(tt.service, tt.wants, tt.pending), tt.want)
		})
	}
}

func TestOwnersLeaveFreeWhatNobodyHas(t *testing.T) {
	off := routing.Policy{TLS: routing.TLS{Mode: routing.Off}}
	owners := make(routing.Owners)
	a, b := wants(secure, "app.test", "a.test"), wants(open, "app.test/b", "b.test")
	owners.Add("a", &a)
	owners.Add("b", &b)
	taken := &routing.Conflict{Host: "app.test", Prefix: "/b", Owner: "b"}
	disputed := &routing.Conflict{Host: "app.test", Owner: "a", Dispute: dispute}
	for name, tt := range map[string]struct {
		service string
		wants   routing.Wants
		free    []string
		first   *routing.Conflict
	}{
		"nothing":           {"c", wants(open), nil, nil},
		"what is free":      {"c", wants(open, "c.test", "app.test/c"), []string{"c.test", "app.test/c"}, nil},
		"its own":           {"b", wants(open, "app.test/b"), []string{"app.test/b"}, nil},
		"another's":         {"c", wants(open, "app.test/b"), nil, taken},
		"some":              {"c", wants(open, "c.test", "app.test/b", "b.test", "d.test"), []string{"c.test", "d.test"}, taken},
		"what is disputed":  {"c", wants(off, "app.test/c", "app.test/b"), []string{"app.test/c"}, disputed},
		"taken and dispute": {"c", wants(off, "app.test/b", "app.test/c"), []string{"app.test/c"}, disputed},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			free, first := owners.Free(tt.service, tt.wants)
			is.Equal(free, claimsOf(tt.free...))
			is.Equal(first, tt.first)
		})
	}
}

func TestChangesThatHappenTogetherAreComparedWithEachOther(t *testing.T) {
	table := tableOf(on("web", open, "app.test"), on("api", open, "app.test/api"), on("old", secure, "old.test"))
	claim := func(claims ...string) *routing.Wants {
		w := wants(open, claims...)
		return &w
	}
	for name, tt := range map[string]struct {
		changes map[string]*routing.Wants
		pending iter.Seq2[string, routing.Wants]
		want    map[string]string // the owners, by the services that have a conflict
	}{
		"none":                 {nil, nobody, map[string]string{}},
		"of what is served":    {map[string]*routing.Wants{"new": claim("app.test")}, nobody, map[string]string{"new": "web"}},
		"of each other":        {map[string]*routing.Wants{"x": claim("x.test"), "y": claim("x.test")}, nobody, map[string]string{"x": "y", "y": "x"}},
		"a swap":               {map[string]*routing.Wants{"web": claim("app.test/api"), "api": claim("app.test")}, nobody, map[string]string{}},
		"of what is taken out": {map[string]*routing.Wants{"web": nil, "new": claim("app.test")}, nobody, map[string]string{}},
		"of what never was":    {map[string]*routing.Wants{"ghost": nil, "new": claim("new.test")}, nobody, map[string]string{}},
		"of what is reserved":  {map[string]*routing.Wants{"new": claim("late.test")}, reserved("late", open, "late.test"), map[string]string{"new": "late"}},
		"of what was reserved for one of them": {
			map[string]*routing.Wants{"late": nil, "new": claim("late.test")}, reserved("late", open, "late.test"), map[string]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			got := make(map[string]string)
			for service, conflict := range table.Conflicts(tt.changes, tt.pending) {
				got[service] = conflict.Owner
			}
			is.Equal(got, tt.want)
		})
	}
	is := is.New(t)
	is.Equal(slices.Sorted(maps.Keys(table.Services())), []string{"api", "old", "web"}) // nothing has changed
	var first []string
	for service := range table.Conflicts(map[string]*routing.Wants{"z": claim("app.test"), "a": claim("app.test"), "m": claim("app.test")}, nobody) {
		if first = append(first, service); len(first) == 2 {
			break
		}
	}
	is.Equal(first, []string{"a", "m"}) // by name
}

func TestConflictSaysWhatWouldBeRight(t *testing.T) {
	for want, c := range map[string]routing.Conflict{
		"host app.test is used by another service: web; remove that one first":                                                                                            {Host: "app.test", Owner: "web"},
		"host app.test below /api is used by another service: web; remove that one first":                                                                                 {Host: "app.test", Prefix: "/api", Owner: "web"},
		"requests for any host go to service web already: name the hosts of this one, or remove web first":                                                                {Owner: "web"},
		"requests for any host below /api go to service web already: name the hosts of this one, or remove web first":                                                     {Prefix: "/api", Owner: "web"},
		"host app.test is shared with service web, which has TLS mode \"files\", and this one \"off\": deploy both alike, or one of them without a say in it":             {Host: "app.test", Owner: "web", Dispute: dispute},
		"host any is shared with service web, which says otherwise whether plain requests are redirected to https: deploy both alike, or one of them without a say in it": {Owner: "web", Dispute: "says otherwise whether plain requests are redirected to https"},
	} {
		is.New(t).Equal(c.String(), want)
	}
}
