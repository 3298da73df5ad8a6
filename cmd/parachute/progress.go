package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// A progress shows how a change goes. Who has made one must call stop.
type progress struct {
	formatter *formatter
	began     time.Time
	writer    *progressWriter  // nil: nothing is shown to people
	printer   *control.Printer // nil: nothing is printed for programs
}

// newProgress returns the progress of a change, shown as the command line wants
// it.
func (p *program) newProgress(f *formatter, quiet bool) *progress {
	change := &progress{formatter: f, began: time.Now(), printer: p.printer}
	if p.printer == nil && !quiet {
		change.writer = newProgressWriter(p.stdout, f, func() display { return p.displayOf(p.stdout) })
	}
	return change
}

// handleEvent shows what an event tells.
func (p *progress) handleEvent(e parachute.Event) {
	if p.printer != nil {
		p.printer.Event(e)
	}
	if p.writer == nil {
		return
	}
	if e.Kind == parachute.EventSwitched {
		p.writer.settle() // the targets have been waited for
	}
	for _, r := range p.formatter.format(e) {
		p.writer.show(r)
	}
}

func (p *progress) show(r progressLine) {
	if p.writer != nil {
		p.writer.show(r)
	}
}

func (p *progress) stop() {
	if p.writer != nil {
		p.writer.stop()
	}
}

// settle leaves what is shown as it is, so that something else can be said.
func (p *progress) settle() {
	if p.writer != nil {
		p.writer.settle()
	}
}

// conclude tells how a change ended, and returns the error that decides the
// exit code.
func (p *program) conclude(ctx context.Context, command string, change *progress, result control.Result, err error) error {
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("%s %s: %w", command, change.formatter.service, errInterrupted)
	case err != nil:
		return &remoteError{err}
	}
	if p.printer != nil {
		p.printer.Result(result)
	}
	change.settle()
	if result.Requests > 0 {
		p.warnf("%s cut off when the drain time-out had passed", pluralize(result.Requests, "request"))
	}
	if result.Warning != "" {
		p.warnf("%s", result.Warning)
		return nil
	}
	change.show(change.formatter.formatDone(time.Since(change.began)))
	switch result.Certificate {
	case control.CertificateReady:
		change.show(progressLine{key: "certificate", isNew: true, status: "certificate", detail: "ready"})
	case control.CertificatePending:
		change.show(progressLine{key: "certificate", isNew: true, status: "certificate", detail: "pending, see parachute certificates", tone: toneWaiting})
	}
	return nil
}

func (p *program) warnf(format string, args ...any) {
	fmt.Fprintf(p.stderr, "parachute: warning: %s\n", printable(fmt.Sprintf(format, args...)))
}

// printable replaces what a target or a file may have put into a message to
// take control of the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
