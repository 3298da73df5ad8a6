package gate

import (
	"context"
	"time"
)

// closingTime is how long before its end a process closes the streams that it has left:
// so long may it take to tell both ends of a WebSocket.
const closingTime = time.Second

// Unhurried returns a context that ends with ctx, or a second before its deadline. The
// streams that are there then have to be closed. The caller must call cancel.
func Unhurried(ctx context.Context) (unhurried context.Context, cancel context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-closingTime))
}

// Within returns l with streams that do not last for longer than unhurried does. If that
// has ended, they are closed at once.
func (l Limits) Within(unhurried context.Context) Limits {
	if deadline, ok := unhurried.Deadline(); ok {
		l.Streams = min(l.Streams, time.Until(deadline))
	}
	if unhurried.Err() != nil {
		l.Streams = -1
	}
	return l
}
