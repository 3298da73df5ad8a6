package tcp

// IgnoreNewcomers does what Finish begins with.
func IgnoreNewcomers(l *Listener) { ignoreNewcomers(l.socket) }
