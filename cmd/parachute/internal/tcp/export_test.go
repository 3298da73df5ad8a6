package tcp

import "time"

const FinishTimeout = finishTimeout

// IgnoreNewcomers does what Finish begins with.
func IgnoreNewcomers(l *Listener) bool { return ignoreNewcomers(l.socket) }

// Woken is closed when Accept is to look what it shall do, as Leave has begun.
func (a *Acceptor) Woken() <-chan struct{} { return a.woken }

// SetArriveTimeout has Finish wait for so long for clients that are connecting.
func SetArriveTimeout(l *Listener, d time.Duration) { l.arriveTimeout = d }
