// Package interrupted makes errors for a wait that a context has ended.
package interrupted

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shahnk19/parachute/internal/verbose"
)

// Error returns an error for a wait that the end of ctx has ended, which has to be
// over. It is the cause of that end, ctx's error, and missing, which says what was
// waited for. Its %+v form has that of missing. Where the cause is one of those that
// say enough by themselves, it is the error.
func Error(ctx context.Context, missing error, enough ...error) error {
	cause := context.Cause(ctx)
	for _, e := range enough {
		if errors.Is(cause, e) {
			return cause
		}
	}
	return &ended{cause, ctx.Err(), missing}
}

// Within calls wait with a context that ends with ctx and, unless limit is negative, when
// limit has passed since began. It returns what wait does; but where ctx has ended, an
// error of wait as Error makes it.
func Within(ctx context.Context, began time.Time, limit time.Duration, wait func(context.Context) error, enough ...error) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if limit >= 0 {
		limited, cancel = context.WithDeadline(ctx, began.Add(limit))
	}
	defer cancel()
	err := wait(limited)
	if err != nil && ctx.Err() != nil {
		return Error(ctx, err, enough...)
	}
	return err
}

type ended struct{ cause, err, missing error }

func (e *ended) Error() string { return e.cause.Error() + ": " + e.missing.Error() }

func (e *ended) Unwrap() []error { return []error{e.cause, e.err, e.missing} }

func (e *ended) Format(s fmt.State, verb rune) {
	verbose.Format(s, verb, e, fmt.Sprintf("%v: %+v", e.cause, e.missing))
}
