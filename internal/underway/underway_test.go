package underway_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/underway"
)

func TestWhatHasBegunIsUnderWayUntilItsEnd(t *testing.T) {
	is := is.New(t)
	var r underway.Register[string]
	is.Equal(r.All(), []string{})
	endFirst := r.Begin("a")
	r.Begin("b")
	endThird := r.Begin("a")
	is.Equal(r.All(), []string{"a", "b", "a"}) // the oldest first
	endFirst()
	is.Equal(r.All(), []string{"b", "a"}) // the one that has ended is gone, and no other
	endFirst()
	endThird()
	is.Equal(r.All(), []string{"b"})
}
