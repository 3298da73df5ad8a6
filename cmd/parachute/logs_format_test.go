package main

import (
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// onDisplay returns what is shown of lines of the log.
func onDisplay(t *testing.T, d display, lines ...string) string {
	t.Helper()
	var out strings.Builder
	p := &linePrinter{out: &out, display: func() display { return d }, formatter: logFormatter{zone: time.UTC}}
	for _, line := range lines {
		if err := p.print([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

const (
	goodRequest  = `{"time":"2026-11-27T12:00:03.5Z","level":"INFO","msg":"Request","host":"a.test","path":"/cart","query":"page=2","status":200,"service":"web","target":"web-1:3000","duration":12345678,"method":"GET"}`
	slowRequest  = `{"time":"2026-11-27T12:00:04Z","level":"INFO","msg":"Request","path":"/a/very/long/path/that/has/no/room/in/these/columns","status":404,"service":"customer-portal-of-the-north","duration":4200000000,"method":"POST"}`
	badRequest   = `{"time":"2026-11-27T12:00:05Z","level":"INFO","msg":"Request","path":"/","status":502,"service":"web","duration":61,"method":"GET","error":"connection refused"}`
	switchedLine = `{"time":"2026-11-27T12:00:06Z","level":"INFO","msg":"switched","service":"web","generation":7,"targets":["10.0.0.7:3000","10.0.0.8:3000"],"hosts":[]}`
	failedLine   = `{"time":"2026-11-27T12:00:07Z","level":"ERROR","msg":"failed","service":"web","generation":8,"error":"10.0.0.9:3000 did not become healthy"}`
)

func TestLogOnATerminalIsInColumns(t *testing.T) {
	is := is.New(t)
	is.Equal(onDisplay(t, display{columns: 80, rows: 24}, goodRequest, badRequest, switchedLine, failedLine, slowRequest, goodRequest), ``+
		`Nov 27 12:00:03  web     200    GET /cart?page=2                            12ms
Nov 27 12:00:05  web     502    GET /  connection refused                   61ns
Nov 27 12:00:06  web            switched generation=7
                                targets=10.0.0.7:3000,10.0.0.8:3000
Nov 27 12:00:07  web     ERROR  failed generation=8
                                error="10.0.0.9:3000 did not become healthy"
Nov 27 12:00:04  custom…-north  404    POST /a/very/lon…n/these/columns     4.2s
Nov 27 12:00:03  web            200    GET /cart?page=2                     12ms
`)
	is.Equal(onDisplay(t, display{columns: 40, rows: 24}, goodRequest, badRequest, switchedLine, slowRequest), `12:00:03  web     200    GET /ca…?page=2
12:00:05  web     502    GET /  connect…
12:00:06  web            switched
                         generation=7
                         targets=10.0.0.
                         7:3000,10.0.0.8
                         :3000
12:00:04  cus…th  404    POST /a…columns
`)
	for columns := 40; columns < 200; columns++ {
		for line := range strings.Lines(onDisplay(t, display{columns: columns, rows: 24}, goodRequest, badRequest, slowRequest, switchedLine)) {
			is.True(displayWidth(strings.TrimSuffix(line, "\n")) <= columns)
		}
		is.True(columns < 50 || strings.HasSuffix(onDisplay(t, display{columns: columns, rows: 24}, slowRequest), "4.2s\n"))
	}
}

func TestLogOnATerminalIsInColour(t *testing.T) {
	is := is.New(t)
	d := display{columns: 80, rows: 24, colour: true}
	is.True(strings.Contains(onDisplay(t, d, goodRequest), "\x1b[32m200    \x1b[0mGET"))
	is.True(strings.Contains(onDisplay(t, d, badRequest), "\x1b[31m502    \x1b[0mGET"))
	is.True(strings.Contains(onDisplay(t, d, failedLine), "\x1b[31mERROR  \x1b[0mfailed"))
	is.True(!strings.Contains(onDisplay(t, d, switchedLine), "\x1b"))
}

func TestLogInColumnsCannotTakeControlOfTheTerminal(t *testing.T) {
	is := is.New(t)
	const evil = `\u001b]0;owned\u0007\u009b2J\r\n\u202e`
	for _, line := range []string{
		strings.ReplaceAll(goodRequest, "/cart", evil),
		strings.ReplaceAll(goodRequest, "GET", evil),
		strings.ReplaceAll(goodRequest, "200", `"`+evil+`"`),
		strings.ReplaceAll(badRequest, "refused", evil),
		strings.ReplaceAll(switchedLine, "web", evil),
		strings.ReplaceAll(switchedLine, "10.0.0.7", evil),
		strings.ReplaceAll(switchedLine, "switched", evil),
		strings.ReplaceAll(switchedLine, "generation", evil),
		strings.ReplaceAll(failedLine, "ERROR", evil),
		strings.ReplaceAll(failedLine, "2026-11-27", evil),
		strings.ReplaceAll(`{"`+evil+`":{"a":"`+evil+`"}}`, `\u`, `\u`),
		"no JSON \x1b]0;owned\x07\r",
		`{"time": broken \u001b` + "\x1b",
	} {
		shown := strings.ReplaceAll(onDisplay(t, display{columns: 80, rows: 24}, line), "\n", "")
		is.Equal(printable(shown), shown)
	}
}

func TestLogThatIsNotInJSONIsShownAsItIs(t *testing.T) {
	is := is.New(t)
	const line = `time=2026-11-27T12:00:00Z level=INFO msg=switched service=web`
	is.Equal(onDisplay(t, display{columns: 30, rows: 24}, line), line+"\n")
	is.Equal(onDisplay(t, display{}, goodRequest), goodRequest+"\n") // a pipe
}
