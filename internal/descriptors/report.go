package descriptors

import (
	"log/slog"
	"sync"
	"time"
)

// reportPause is the least time between two reports.
const reportPause = time.Minute

// A Reporter tells the operator of shortages, once a minute at most. Its methods
// may be called from any goroutine.
type Reporter struct {
	logger *slog.Logger

	mu   sync.Mutex // guards told
	told time.Time  // zero: nothing was
}

// NewReporter returns a Reporter that logs warnings. If logger is nil, it does
// nothing.
func NewReporter(logger *slog.Logger) *Reporter { return &Reporter{logger: logger} }

// Report says what could not be done because of err, the limit, and what to do
// about it.
func (r *Reporter) Report(what string, err error, attrs ...any) {
	if r.logger == nil || !r.isTime() {
		return
	}
	r.logger.Warn(what+": "+Advice(err), append(attrs, "limit", Limit(), "error", err.Error())...)
}

// isTime reports whether reportPause has passed since the last report. If so, it
// notes a report for now.
func (r *Reporter) isTime() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.told.IsZero() && now.Sub(r.told) < reportPause {
		return false
	}
	r.told = now
	return true
}
