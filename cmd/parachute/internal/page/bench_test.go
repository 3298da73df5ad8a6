package page_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/page"
)

func BenchmarkObserve(b *testing.B) {
	r := page.NewRecorder()
	r.Notify(parachute.Event{Time: time.Now(), Service: "web", Kind: parachute.EventSwitched, Targets: []string{"10.0.0.1:80"}})
	o := parachute.Outcome{Service: "web", Target: "10.0.0.1:80", Status: 200, Duration: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		r.Observe(nil, o)
	}
}

// many returns a site with so many services, of three targets each.
func many(tb testing.TB, n int) *site {
	s := &site{recorder: page.NewRecorder()}
	for i := range n {
		s.services = append(s.services, serving(fmt.Sprintf("service-%04d", i),
			healthy("10.0.0.1:3000"), healthy("10.0.0.2:3000"), healthy("10.0.0.3:3000")))
	}
	s.page = page.New(page.Config{
		Recorder:     s.recorder,
		Services:     func() []parachute.Status { return s.services },
		Certificates: func() []parachute.Certificate { return nil },
	})
	tb.Cleanup(s.page.Close)
	return s
}

func TestOverviewOfThousandServicesIsBelowAMebibyte(t *testing.T) {
	size := func(services int) int { // with a line of a quarter of an hour in each row
		is := is.New(t)
		s := many(t, services)
		s.recorder.FillForTest(s.services, 15*time.Minute)
		w := s.get(t, "/")
		is.Equal(w.Code, http.StatusOK)
		return w.Body.Len()
	}
	is := is.New(t)
	few, more := size(10), size(60)
	row := (more - few) / 50
	is.True(row > 0)
	is.True(few+990*row < 1<<20) // every row is as long as another
}

func BenchmarkOverviewOfThousandServices(b *testing.B) {
	s := many(b, 1000)
	for b.Loop() {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = "localhost"
		s.page.ServeHTTP(httptest.NewRecorder(), r)
	}
}

// What an hour of a thousand services takes: see the metric B/service.
func BenchmarkMemoryOfAnHour(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := many(b, 1000)
		s.recorder.FillForTest(s.services, time.Hour)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1000, "B/service")
		runtime.KeepAlive(s)
	}
}
