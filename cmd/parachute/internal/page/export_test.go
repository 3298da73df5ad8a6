package page

import (
	"time"

	"github.com/shahnk19/parachute"
)

// FillForTest ends so many steps that a time is full, with more and fewer requests.
func (r *Recorder) FillForTest(services []parachute.Status, d time.Duration) {
	for i := range uint32(d/stepTime + 1) {
		for _, s := range *r.services.Load() {
			for _, t := range *s.targets.Load() {
				t.now.classes[class2xx].Add(i * 7919 % 1000)
			}
		}
		r.end(services)
	}
}
