package page

import (
	"fmt"
	"testing"
	"time"

	"github.com/shahnk19/parachute"
)

// An update of a client each second costs this much of one.
func BenchmarkUpdateOfThousandServices(b *testing.B) {
	services := make([]parachute.Status, 1000)
	for i := range services {
		services[i] = parachute.Status{Service: fmt.Sprintf("service-%04d", i), State: parachute.StateServing, Live: &parachute.Live{
			Targets: []parachute.TargetStatus{{Address: "10.0.0.1:3000", Health: parachute.HealthHealthy}},
		}}
	}
	p := New(Config{
		Recorder: NewRecorder(), Services: func() []parachute.Status { return services },
		Certificates: func() []parachute.Certificate { return nil },
	})
	defer p.Close()
	f := &overviewFeed{page: p, rows: make(map[string]Row), sent: make(map[string]string)}
	for b.Loop() {
		u := update{Parts: make(map[string]string), Order: make(map[string][]string)}
		f.next(&u, time.Now())
	}
}
