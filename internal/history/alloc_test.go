//go:build !race

package history_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/history"
)

func TestReadingARecordAllocatesItsTargetsAndTimes(t *testing.T) {
	is := is.New(t)
	text := inJSON(t, history.Past{Service: "web", Release: "v1", Targets: []string{"a:1"}, Switched: time.Unix(5, 5).UTC(), Ended: time.Unix(7, 0).UTC(), End: history.Replaced})
	var r history.Past
	is.True(testing.AllocsPerRun(100, func() { r.CutJSON(text) }) <= 3)
}
