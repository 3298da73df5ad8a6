package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

type logsCommand struct {
	Service string `arg:"" optional:"" help:"The service whose lines are wanted; if none, all lines are."`

	Follow bool          `short:"f" help:"Go on with the lines that come, until interrupted."`
	JSON   bool          `name:"json" negatable:"" help:"Print the lines as they were logged, on a terminal too."`
	Lines  optionalCount `short:"n" placeholder:"N" help:"Print only the last N lines; 0 is none. If not given, all that are kept are printed."`
	remoteFlags
}

// Help explains which lines there are, and how the command ends.
func (logsCommand) Help() string {
	return `The proxy keeps the last 500 lines of requests in memory, and the last 500 of everything else: what happened to services, warnings and errors. They are those of its log on standard output, in the same form. On a terminal they are shown in columns: when, which service, the status, the request, and how long it took. With "run --no-access-log" there are no lines of requests. A restart of the proxy forgets all lines.

With --follow, lines that come faster than they can be printed are left out, and a line says how many. An interrupt ends the command with exit code 0. It goes on with the process that takes the place of the proxy in an upgrade. If the proxy ends or is restarted, the exit code is 5.`
}

func (logsCommand) Examples() string {
	return `
# See what was last logged about a service.
parachute logs web

# See its last ten lines, and those that come.
parachute logs web -n 10 --follow

# See all fields of them.
parachute logs web --json`
}

func (c *logsCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	printer := &linePrinter{out: p.stdout}
	if !c.JSON {
		printer.display = func() display { return p.displayOf(p.stdout) }
	}
	err = client.Logs(ctx, control.LogQuery{Service: c.Service, Lines: int(c.Lines), Follow: c.Follow}, printer.print)
	switch {
	case isBrokenPipe(printer.err):
		return nil
	case c.Follow && ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil
	case err == nil && !printer.printed && c.Lines >= 0:
		fmt.Fprintln(p.stderr, "no lines of it are kept any more")
	}
	return err
}

// A linePrinter prints lines of the log to out.
type linePrinter struct {
	out       io.Writer
	display   func() display // returns that of out; nil: lines are printed as they are
	formatter logFormatter
	printed   bool  // whether it has printed a line
	err       error // the last error of out
}

func (p *linePrinter) print(line []byte) error {
	p.printed = true
	_, p.err = p.out.Write(p.format(line))
	return p.err
}

// format returns a line in columns on a terminal, and as it is elsewhere.
func (p *linePrinter) format(line []byte) []byte {
	if p.display != nil {
		if d := p.display(); d != (display{}) {
			if l, ok := parseLogLine(line); ok {
				return []byte(p.formatter.format(l, d))
			}
		}
	}
	return escapeUnprintable(line)
}

// escapeUnprintable escapes the characters of a line with which it could take
// control of the terminal. Both log formats escape most of them already. JSON
// allows the others within strings only, where the escape has the same meaning.
func escapeUnprintable(line []byte) []byte {
	if !bytes.ContainsFunc(line, isUnprintable) {
		return line
	}
	var b []byte
	for _, r := range string(line) {
		switch {
		case !isUnprintable(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// isUnprintable reports whether r must be escaped. Bytes that are not UTF-8 must
// be too, because some terminals take them for control characters.
func isUnprintable(r rune) bool {
	return r == utf8.RuneError || r != '\n' && !unicode.IsPrint(r)
}
