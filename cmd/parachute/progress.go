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

// A progress shows the progress of a change. The caller of newProgress must
// call stop.
type progress struct {
	formatter *formatter
	began     time.Time
	writer    *progressWriter  // shows lines to people; nil with --quiet or --json
	printer   *control.Printer // prints JSON for programs; nil without --json

	tellDifference func(parachute.Difference)
}

// newProgress returns a progress that shows a change in the form that the
// command line asks for.
func (p *program) newProgress(f *formatter, quiet bool) *progress {
	change := &progress{formatter: f, began: time.Now(), printer: p.printer}
	change.tellDifference = func(d parachute.Difference) {
		change.settle()
		p.tellDifference(f.service, d, quiet)
	}
	if p.printer == nil && !quiet {
		change.writer = newProgressWriter(p.stdout, f, func() display { return p.displayOf(p.stdout) })
	}
	return change
}

// handleEvent shows an event.
func (p *progress) handleEvent(e parachute.Event) {
	if p.printer != nil {
		p.printer.Event(e)
	}
	if e.Kind == parachute.EventSwitched {
		p.settle() // the lines about targets are final
		defer p.tellDifference(e.Difference)
	}
	if p.writer == nil {
		return
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

// settle makes the lines shown so far final, so that other output can follow.
func (p *progress) settle() {
	if p.writer != nil {
		p.writer.settle()
	}
}

// settleProgress makes the lines shown so far final, and says that a program runs, which may print.
func (p *program) settleProgress(program string) {
	if p.progress == nil {
		return
	}
	p.progress.settle()
	p.progress.show(progressLine{key: "pre-switch", isNew: true, status: "pre-switch", detail: program + " decides", tone: toneWaiting})
	p.progress.settle()
}

// conclude shows how a change ended, and returns the error that decides the
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
	if result.DryRun {
		change.show(progressLine{key: "done", isNew: true, status: "would switch", detail: "nothing was changed", tone: toneGood})
		change.tellDifference(result.Difference)
	}
	if result.Requests > 0 {
		p.warnf("%s cut off when the drain time-out had passed", pluralize(result.Requests, "request"))
	}
	if result.Trust != "" {
		p.warnf("%s: %s", change.formatter.service, result.Trust)
	}
	if result.DryRun {
		return nil
	}
	if result.Warning != "" {
		p.warnf("%s", result.Warning)
		return nil
	}
	if len(result.Unhealthy) > 0 {
		p.warnf("since the switch %s became unhealthy: do not remove the old targets yet", strings.Join(result.Unhealthy, ", "))
	}
	if change.formatter.isDown(result.Unhealthy) {
		return &remoteError{fmt.Errorf("parachute: %s %s: %w: the new version serves, but none of its targets is healthy", command, change.formatter.service, parachute.ErrUndecided)}
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

// printable replaces unprintable characters, with which a target or a file
// could take control of the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
