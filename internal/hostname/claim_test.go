package hostname_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/hostname"
)

func TestEveryPrefixIsClaimedOnEveryHost(t *testing.T) {
	is := is.New(t)
	claims, hosts, prefixes, err := hostname.ParseClaims([]string{"B.test", "a.test.", "b.test"}, []string{"/api/", "/%61pi", "/x"})
	is.NoErr(err)
	is.Equal(hosts, []string{"b.test", "a.test"})         // canonical, each once
	is.Equal(prefixes, []string{"/api/", "/%61pi", "/x"}) // as they were given
	is.Equal(claims, []hostname.Claim{{"b.test", "/api"}, {"b.test", "/x"}, {"a.test", "/api"}, {"a.test", "/x"}})
}

func TestNothingAskedForClaimsEverything(t *testing.T) {
	is := is.New(t)
	claims, hosts, prefixes, err := hostname.ParseClaims(nil, nil)
	is.NoErr(err)
	is.Equal(claims, []hostname.Claim{{hostname.Any, ""}})
	is.Equal(len(hosts)+len(prefixes), 0)
}

func TestWhatCannotBeClaimedIsLeftOut(t *testing.T) {
	is := is.New(t)
	claims, hosts, prefixes, err := hostname.ParseClaims([]string{"a b", "a.test", "*"}, []string{"api", "/x"})
	is.True(err != nil)
	is.Equal(err.Error(), `host "a b" is no host name: want labels of letters, digits and '-' with dots between, as in app1.example.com`) // the first fault
	is.Equal(claims, []hostname.Claim{{"a.test", "/x"}})
	is.Equal(hosts, []string{"a.test"})
	is.Equal(prefixes, []string{"/x"})

	claims, _, _, err = hostname.ParseClaims([]string{"*"}, nil)
	is.True(err != nil)
	is.Equal(len(claims), 0) // not every host

	claims, _, _, err = hostname.ParseClaims(nil, []string{"api"})
	is.True(err != nil)
	is.Equal(len(claims), 0) // not every path
}
