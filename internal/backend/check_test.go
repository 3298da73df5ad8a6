package backend_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/inprocess"
)

// targetsAt returns the targets with these addresses.
func targetsAt(t *testing.T, addresses ...string) []endpoint.Target {
	t.Helper()
	all, err := endpoint.ParseAll(addresses)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestHandlerMustBeThere(t *testing.T) {
	is := is.New(t)
	b := newBed(t)
	b.shared.Handlers = map[string]*inprocess.Server{"there": nil}
	err := b.shared.CheckHandlers(targetsAt(t, "web-1:3000", "handler:there"))
	is.True(err != nil && strings.HasPrefix(err.Error(), "target handler:there: this program has no such handler: "))
	is.NoErr(b.shared.CheckHandlers(targetsAt(t, "web-1:3000", "unix:/run/app.sock")))
}

func TestTargetThatIsTheProxyItselfIsFound(t *testing.T) {
	b := newBed(t, "192.0.2.7")
	b.shared.Listening = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:80"), netip.MustParseAddrPort("127.0.0.1:8080")}
	for addresses, own := range map[string]string{
		"192.0.2.7:80":                  "192.0.2.7:80",
		"192.0.2.8:80 https://web-1:80": "192.0.2.7:80", // as the name server says
		"localhost:8080":                "",
		"127.0.0.1:8080":                "127.0.0.1:8080",
		"192.0.2.7:3000 web-1:3000":     "",
		"192.0.2.8:80 unix:/run/app:80": "",
	} {
		t.Run(addresses, func(t *testing.T) {
			is := is.New(t)
			err := b.shared.CheckNoLoop(t.Context(), targetsAt(t, strings.Fields(addresses)...))
			if own == "" {
				is.NoErr(err)
				return
			}
			is.True(err != nil && strings.Contains(err.Error(), "is this proxy itself, which listens on "+own))
		})
	}
	is := is.New(t)
	b.shared.Names = nil
	is.NoErr(b.shared.CheckNoLoop(t.Context(), targetsAt(t, "web-1:80"))) // nobody here knows where that leads
	is.True(b.shared.CheckNoLoop(t.Context(), targetsAt(t, "192.0.2.7:80")) != nil)
}
