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
	story   *story
	began   time.Time
	teller  *teller          // nil: nothing is shown to people
	printer *control.Printer // nil: nothing is printed for programs
}

// newProgress returns the progress of a change, shown as the command line wants
// it.
func (p *program) newProgress(s *story, quiet bool) *progress {
	change := &progress{story: s, began: time.Now(), printer: p.printer}
	if p.printer == nil && !quiet {
		change.teller = newTeller(p.stdout, s, func() display { return p.displayOf(p.stdout) })
	}
	return change
}

// hear shows what an event tells.
func (p *progress) hear(e parachute.Event) {
	if p.printer != nil {
		p.printer.Event(e)
	}
	if p.teller == nil {
		return
	}
	if e.Kind == parachute.EventSwitched {
		p.teller.settle() // the targets have been waited for
	}
	for _, r := range p.story.hear(e) {
		p.teller.show(r)
	}
}

func (p *progress) show(r storyLine) {
	if p.teller != nil {
		p.teller.show(r)
	}
}

func (p *progress) stop() {
	if p.teller != nil {
		p.teller.stop()
	}
}

// settle leaves what is shown as it is, so that something else can be said.
func (p *progress) settle() {
	if p.teller != nil {
		p.teller.settle()
	}
}

// conclude tells how a change ended, and returns the error that decides the
// exit code.
func (p *program) conclude(ctx context.Context, command string, change *progress, result control.Result, err error) error {
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("%s %s: %w", command, change.story.service, errInterrupted)
	case err != nil:
		return &remoteError{err}
	}
	if p.printer != nil {
		p.printer.Result(result)
	}
	change.settle()
	if result.Requests > 0 {
		p.warnf("%s cut off when the drain time-out had passed", count(result.Requests, "request"))
	}
	if result.Warning != "" {
		p.warnf("%s", result.Warning)
		return nil
	}
	change.show(change.story.done(time.Since(change.began)))
	switch result.Certificate {
	case control.CertificateReady:
		change.show(storyLine{key: "certificate", news: true, what: "certificate", detail: "ready"})
	case control.CertificatePending:
		change.show(storyLine{key: "certificate", news: true, what: "certificate", detail: "pending, see parachute certificates", tone: toneWaiting})
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
