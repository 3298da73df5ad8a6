// Package trial watches targets that have taken the place of others, for as long as
// those can be returned to, and has that done if the new ones fail. A Trial knows the
// targets alone; a Change knows which version of a service has them.
package trial

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Target is what requests are sent to. Its methods may be called from any goroutine.
type Target interface {
	comparable

	// Lost returns why the target serves no more, by what is known of it, or "" if it
	// does. What was seen before since does not count.
	Lost(since time.Time) string

	// IsUnhealthy reports whether the target does not pass its probes, or is lost, as Lost
	// has it.
	IsUnhealthy(since time.Time) bool

	// Ask asks the target whether it is well. If it is not, lost says why it serves no
	// more, or is "" where a single answer does not prove that. Ask returns soon when
	// ctx ends; its answer is of no use then.
	Ask(ctx context.Context) (passes bool, lost string)
}

// A Trial is the time after a switch from one set of targets to another. Its fields must
// not be changed once a method was called.
type Trial[T Target] struct {
	Brought []T // those that the switch has brought
	Gone    []T // those that they have taken the place of

	// IsJudged reports whether Brought get the requests at the moment, so that they can
	// be judged: by what was seen from since on.
	IsJudged func() (since time.Time, ok bool)

	// TakeBack returns to Gone, because of reason. It reports whether it has done so;
	// where it could not, it is called again at the next look.
	TakeBack func(reason string) bool

	// Done is closed when nobody waits for a judgement any more.
	Done <-chan struct{}
}

// lookInterval is the pause between two looks of Watch.
const lookInterval = 100 * time.Millisecond

// Watch calls drain, which waits for what is left on Gone, and looks at the targets until
// it returns. When all of Brought are lost and one of Gone is well, it calls TakeBack.
// Then, or when Done is closed, it closes ending, so that drain returns.
//
// If drain returns true, Brought may not be what they were before it, and the last look
// asks them: also what has happened at that moment is noticed.
//
// Watch returns when drain has. It reports whether TakeBack has succeeded. Otherwise
// failing are those of Brought that did not pass in the last look.
func (t *Trial[T]) Watch(drain func(ending <-chan struct{}) bool) (takenBack bool, failing []T) {
	ending, drained := make(chan struct{}), make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		defer close(ending)
		takenBack = t.lookUntil(drained)
	})
	ask := drain(ending)
	close(drained)
	watching.Wait()
	if takenBack || !ask {
		return takenBack, nil
	}
	failing, lost := t.ask()
	return t.isTakenBack(lost), failing
}

// lookUntil looks at the targets until it has taken them back, over is closed, or Done.
// When over is closed it looks once more.
func (t *Trial[T]) lookUntil(over <-chan struct{}) (takenBack bool) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for isOver := false; !isOver; {
		select {
		case <-over:
			isOver = true
		case <-t.Done:
			return false
		case <-tick.C:
		}
		if t.isTakenBack(t.lost()) {
			return true
		}
	}
	return false
}

// isTakenBack returns to Gone if there is a reason and one of them is well, and reports
// whether it has.
func (t *Trial[T]) isTakenBack(reason string) bool {
	return reason != "" && t.isGoneWell() && t.TakeBack(reason)
}

// lost returns why Brought are lost, or "" while one of them is not, or they are not
// judged.
func (t *Trial[T]) lost() string {
	since, ok := t.IsJudged()
	if !ok {
		return ""
	}
	var all []string
	for _, b := range t.Brought {
		all = append(all, b.Lost(since))
	}
	return join(all)
}

// ask asks all of Brought. It returns those that do not pass, and why all of them are
// lost, or "" as in lost. When Done is closed, it returns nothing.
func (t *Trial[T]) ask() (failing []T, lost string) {
	answers := make([]answer, len(t.Brought))
	for i, a := range asked(t.Brought, t.Done) {
		answers[i] = a
	}
	var all []string
	for i, a := range answers {
		if !a.isThere {
			return nil, ""
		}
		if !a.passes {
			failing = append(failing, t.Brought[i])
		}
		all = append(all, a.lost)
	}
	if _, ok := t.IsJudged(); !ok {
		return failing, ""
	}
	return failing, join(all)
}

// Failing asks all targets, and returns those that do not pass: none once done is closed.
func Failing[T Target](targets []T, done <-chan struct{}) []T {
	passes := make([]bool, len(targets))
	answers := 0
	for i, a := range asked(targets, done) {
		passes[i] = a.passes
		answers++
	}
	if answers < len(targets) {
		return nil
	}
	var failing []T
	for i, t := range targets {
		if !passes[i] {
			failing = append(failing, t)
		}
	}
	return failing
}

// join returns the reasons for which each of some targets is lost, or "" if one is not.
// A target that is there twice has the same reason twice.
func join(reasons []string) string {
	if slices.Contains(reasons, "") {
		return ""
	}
	var distinct []string
	for _, why := range reasons {
		if !slices.Contains(distinct, why) {
			distinct = append(distinct, why)
		}
	}
	return strings.Join(distinct, "; ")
}

// isGoneWell asks all of Gone, until one of them passes.
func (t *Trial[T]) isGoneWell() bool {
	for _, a := range asked(t.Gone, t.Done) {
		if a.passes {
			return true
		}
	}
	return false
}

// An answer is what Ask has returned.
type answer struct {
	isThere bool
	passes  bool
	lost    string
}

// asked asks all targets at once, and yields the answers as they come, with the index of
// the target. When done is closed, it yields no more. Its calls of Ask have ended when it
// has.
func asked[T Target](targets []T, done <-chan struct{}) iter.Seq2[int, answer] {
	type numbered struct {
		i int
		answer
	}
	return func(yield func(int, answer) bool) {
		ctx, cancel := context.WithCancel(context.Background())
		answers := make(chan numbered, len(targets))
		var asking sync.WaitGroup
		defer asking.Wait()
		defer cancel()
		for i, t := range targets {
			asking.Go(func() {
				passes, lost := t.Ask(ctx)
				answers <- numbered{i, answer{true, passes, lost}}
			})
		}
		for range targets {
			select {
			case a := <-answers:
				if !yield(a.i, a.answer) {
					return
				}
			case <-done:
				return
			}
		}
	}
}
