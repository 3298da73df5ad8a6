package main

import (
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// lineIn returns how a line is shown on a terminal of so many columns.
func lineIn(columns int, service string, line progressLine) string {
	f := newFormatter(parachute.Deployment{Service: service, Targets: []string{line.target}})
	return newProgressWriter(nil, f, nil).format(line, 0, display{columns: columns, rows: 24})
}

func TestNamesAreShortenedBeforeReasons(t *testing.T) {
	is := is.New(t)
	refused := progressLine{
		target: "web-blue-1.internal.example.com:3000", status: "connecting ...", detail: "refused",
		count: "4 probes", elapsed: 1200 * time.Millisecond, limit: 30 * time.Second,
	}
	const service = "customer-portal"
	is.Equal(lineIn(200, service, refused), "customer-portal  web-blue-1.internal.example.com:3000  connecting ...            refused (4 probes, 1.2s of 30s)")
	is.Equal(lineIn(100, service, refused), "customer-portal  web-blue-1.internal.example.com:3000  connecting ...  refused (1.2s of 30s)")
	is.Equal(lineIn(80, service, refused), "customer-portal  web-blue-1.…le.com:3000  connecting ...  refused (1.2s of 30s)")
	is.Equal(lineIn(60, service, refused), "custom…ortal  web-blu…om:3000  connecting ...  refused")
	is.Equal(lineIn(40, service, refused), "cus…tal  we…00  connecting ...  refused")

	for columns := 36; columns <= 200; columns++ {
		line := lineIn(columns, service, refused)
		is.True(displayWidth(line) < columns)
		is.True(strings.Contains(line, "  refused")) // there is a name to shorten
		is.True(strings.Contains(line, "  connecting ..."))
	}
	for columns := 1; columns < 36; columns++ {
		is.True(displayWidth(lineIn(columns, service, refused)) < max(columns, 2))
	}
}

func TestQuotedPageIsShortenedBeforeNames(t *testing.T) {
	is := is.New(t)
	f := newFormatter(parachute.Deployment{Service: "web", Targets: []string{"10.0.0.7:3000"}})
	lines := f.format(parachute.Event{
		Kind: parachute.EventProbed, Target: "10.0.0.7:3000", Probes: 7, Elapsed: 2400 * time.Millisecond, Limit: 30 * time.Second,
		Probe: &parachute.Probe{URL: "http://10.0.0.7:3000/up", Status: 503, Body: "the database is being migrated, and will be there soon"},
	})
	is.Equal(lineIn(80, "web", lines[0]), `web  10.0.0.7:3000  waiting ...  GET /up 503 "the database is …" (2.4s of 30s)`)
	is.Equal(lineIn(60, "web", lines[0]), `web  10.0…000  waiting ...  GET /up 503 "the database is …"`)
}

func TestWideNamesAreShortenedByTheirWidth(t *testing.T) {
	is := is.New(t)
	is.Equal(shortenMiddle("abcdefgh", 5), "ab…gh")
	is.Equal(shortenMiddle("店店店店", 5), "店…店")
	is.Equal(shortenMiddle("店店店店", 8), "店店店店")
	is.Equal(shortenMiddle("ab", 0), "")
	is.Equal(shortenMiddle("ae\u0301ze\u0301", 3), "a…e\u0301") // an accent stays with its letter
}
