package asflags_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/asflags"
)

func TestNothingIsToldOfWhatIsByDefault(t *testing.T) {
	is := is.New(t)
	p := parachute.New(parachute.Options{})
	defer p.Close()
	bare := parachute.Deployment{Service: "web", Targets: []string{"127.0.0.1:1"}, Force: true}
	is.NoErr(p.Deploy(t.Context(), bare))
	complete := p.Services()[0].Deployment
	is.Equal(asflags.Difference(bare, complete), parachute.Difference{}) // the defaults that the proxy has filled in
}

func TestWhatIsOpenedIsTold(t *testing.T) {
	access := func(allow, deny []string) parachute.Deployment {
		return parachute.Deployment{Service: "web", Access: parachute.Access{Allow: allow, Deny: deny}}
	}
	for name, tt := range map[string]struct {
		before, after parachute.Deployment
		want          []string
	}{
		"allow":        {access([]string{"10.0.0.0/8"}, nil), access(nil, nil), []string{"web is no longer protected by --allow"}},
		"wider":        {access([]string{"10.1.0.0/16"}, nil), access([]string{"10.0.0.0/8"}, nil), []string{"web lets more clients in than before: --allow 10.0.0.0/8"}},
		"narrower":     {access([]string{"10.0.0.0/8"}, nil), access([]string{"10.1.0.0/16", "10.0.0.9"}, nil), nil},
		"first allow":  {access(nil, nil), access([]string{"0.0.0.0/0"}, nil), nil},
		"deny":         {access(nil, []string{"10.0.0.9"}), access(nil, nil), []string{"web is no longer protected by --deny"}},
		"some of deny": {access(nil, []string{"10.0.0.9", "::1"}), access(nil, []string{"::1"}), []string{"web is no longer protected by --deny 10.0.0.9"}},
		"more denied":  {access(nil, []string{"10.0.0.9"}), access(nil, []string{"10.0.0.0/24"}), nil},
		"password":     {parachute.Deployment{Service: "web", Access: parachute.Access{BasicAuthFile: "/a"}}, access(nil, nil), []string{"web is no longer protected by --basic-auth-file"}},
		"TLS":          {parachute.Deployment{Service: "web", TLS: parachute.TLS{Mode: parachute.TLSAutomatic}}, access(nil, nil), []string{"web is no longer protected by --tls"}},
		"every host":   {parachute.Deployment{Service: "web", Hosts: []string{"a.test"}}, access(nil, nil), []string{"web answers for every host now, and no longer for a.test alone"}},
		"another host": {parachute.Deployment{Service: "web", Hosts: []string{"a.test"}}, parachute.Deployment{Service: "web", Hosts: []string{"b.test"}}, nil},
		"every path":   {parachute.Deployment{Service: "web", PathPrefixes: []string{"/a"}}, access(nil, nil), []string{"web answers for every path now, and no longer below /a alone"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(asflags.Difference(tt.before, tt.after).Opened, tt.want)
		})
	}
}

func TestOrderOfRulesIsADifferenceAndTheirValuesAreHidden(t *testing.T) {
	is := is.New(t)
	with := func(rules ...string) parachute.Deployment {
		return parachute.Deployment{Headers: parachute.Headers{Request: rules}}
	}
	d := asflags.Difference(with("set A: s3cret", "del A"), with("del A", "set A: s3cret"))
	is.Equal(d.NoLonger, []string{"--request-header 'set A: ***'", "--request-header 'del A'"})
	is.Equal(d.Now, []string{"--request-header 'del A'", "--request-header 'set A: ***'"})
	d = asflags.Difference(with("set A: 1"), with("set A: 2"))
	is.Equal(d.NoLonger, []string{"--request-header 'set A: ***'"}) // another value, which is not told
	is.Equal(d.Now, d.NoLonger)
}

func TestCanaryIsADifferenceInItsOwnWords(t *testing.T) {
	is := is.New(t)
	plain := parachute.Deployment{Service: "web"}
	tried := parachute.Deployment{Service: "web", Canary: parachute.Canary{Steps: []int{1, 50}, Step: 30 * time.Second}}
	is.Equal(asflags.Difference(plain, tried).Now, []string{"--canary 1%", "--canary 50%", "--step 30s"})
	is.Equal(asflags.Difference(tried, plain).NoLonger, []string{"--canary 1%", "--canary 50%", "--step 30s"})
}
