//go:build !race

package split_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestAKnownVisitorAllocatesNothing(t *testing.T) {
	is := is.New(t)
	s := newSplit(t, 50, "ann")
	long := strings.Repeat("x", 128)
	is.Equal(testing.AllocsPerRun(100, func() {
		s.Second("", "ABCD", true)
		s.Second(long, "ann", true)
		s.Second(long, "", true)
	}), 0.0)
}
