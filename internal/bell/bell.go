// Package bell wakes a goroutine that waits for work by way of the runtime's poller, which
// is cheaper than a channel where whoever wakes it is about to wait too.
//
// A goroutine that a channel wakes is one more for the scheduler to run, so that it wakes a
// thread for it if a processor is idle. That thread finds, as a rule, that the one which
// woke it has begun with the goroutine itself, looks around for other work, and sleeps
// again. All of this costs as much as a small request. A goroutine that waits for a file is
// found by whichever thread looks for work next.
package bell
