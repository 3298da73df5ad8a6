package e2e_test

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// A seen is what one proxy of a fleet says of itself.
type seen struct {
	Name, Error  string
	Self         bool
	Services     []parachute.Status
	Certificates []parachute.Certificate
	History      []parachute.Past
	Records      map[string]int64
}

// look returns what proxies say, seen through p.
func look(t *testing.T, p *proxy, args ...string) (all []seen, code int) {
	t.Helper()
	printed, code := p.command(t, append(args, "--fleet", "--json")...)
	if err := json.NewDecoder(strings.NewReader(printed)).Decode(&all); err != nil { // an error stands behind it
		t.Fatalf("%v: %v\n%s", args, err, printed)
	}
	return all, code
}

func TestFleetIsSeenThroughAnyOfItsProxies(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	_, proxies := startFleet(t, 3, ending)
	app := newApp(t, "app-1")
	proxies[0].deploy(t, "web", newApp(t, "app-0"))
	proxies[1].deploy(t, "web", app)
	proxies[1].deploy(t, "shop", app, "--host", "shop.test")
	for i, p := range proxies {
		all, code := look(t, p, "list")
		is.Equal(code, 0)
		is.Equal(len(all), 3)
		for j, one := range all {
			is.Equal(one.Error, "")
			is.Equal(one.Self, i == j)
			is.Equal(one.Services[1].Deployment.Targets, []string{app.address})
			is.Equal(one.Records, all[0].Records) // the revision is that of all
			is.True(one.Records["shop"] > one.Records["web"])
		}
	}
	past, code := look(t, proxies[2], "history", "web")
	is.Equal(code, 0)
	for _, one := range past {
		is.Equal(len(one.History), 2)
		is.Equal(one.History[0].Targets, []string{app.address})
	}
	certificates, code := look(t, proxies[2], "certificates")
	is.Equal(code, 0)
	is.Equal(len(certificates), 3)
	printed, code := proxies[0].command(t, "status", "web", "--fleet")
	is.Equal(code, 0)
	is.True(strings.Contains(printed, "proxies  all 3\n"))
	is.True(strings.Contains(printed, "\nproxy-2  "+app.address+"  healthy "))
	printed, code = proxies[0].command(t, "status", "nothing", "--fleet")
	is.Equal(code, 1)
	is.True(strings.Contains(printed, "status nothing: no such service"))
	printed, code = proxies[0].command(t, "status", "--fleet", "--watch")
	is.Equal(code, 2)
	is.True(strings.Contains(printed, "--fleet cannot be watched"))

	frozen := proxies[2].cmd.Process
	is.NoErr(frozen.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { frozen.Signal(syscall.SIGCONT) })
	printed, code = proxies[0].command(t, "list", "--fleet")
	is.Equal(code, 1)
	is.True(strings.HasPrefix(printed, "proxy-2 is not seen: it")) // did not answer, or its lease has ended
	is.True(strings.Contains(printed, "shop     all 2 seen  serving"))
	is.NoErr(frozen.Signal(syscall.SIGCONT))
	eventually(t, "all of them again", func() bool {
		all, code := look(t, proxies[0], "list")
		return code == 0 && len(all) == 3
	})

	proxies[2].kill()
	eventually(t, "the end of its lease", func() bool {
		printed, code := proxies[0].command(t, "fleet")
		return code == 0 && strings.Contains(printed, "proxy-2 at ") && strings.Contains(printed, "was lost")
	})
	all, code := look(t, proxies[0], "list")
	is.Equal(code, 1)
	is.Equal(all[2].Name, "proxy-2")
	is.True(strings.Contains(all[2].Error, "whether it still serves is not known"))
	_, code = proxies[1].command(t, "fleet", "--forget", "proxy-2")
	is.Equal(code, 0)
	all, code = look(t, proxies[0], "list")
	is.Equal(code, 0)
	is.Equal(len(all), 2)
	printed, code = proxies[1].command(t, "fleet", "--forget", "proxy-0")
	is.Equal(code, 1)
	is.True(strings.Contains(printed, "no proxy of that name is lost"))
	proxies[2].start(t)
	awaitFleet(t, proxies[0], 3)
}

func TestProxyOfNoFleetHasNoneToShow(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	p := startProxy(t, newAuthority(t, authorityConfig{}))
	for _, command := range []string{"list", "status", "certificates", "history"} {
		printed, code := p.command(t, command, "--fleet")
		is.Equal(code, 1)
		is.True(strings.Contains(printed, "this proxy shares its services with no other: see run --etcd"))
	}
}
