package accesslog_test

import (
	"io"
	"testing"

	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
)

func BenchmarkObserve(b *testing.B) {
	for _, f := range []accesslog.Format{accesslog.JSON, accesslog.Text} {
		b.Run(string(f), func(b *testing.B) {
			log := accesslog.New(io.Discard, f)
			defer log.Close()
			r, o := newRequest(), newOutcome()
			b.ReportAllocs()
			for b.Loop() {
				log.Observe(r, o)
			}
		})
	}
}
