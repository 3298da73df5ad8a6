package upstream

import (
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestSlowClientGetsSmallPieces(t *testing.T) {
	for name, tt := range map[string]struct {
		took, limit time.Duration
		want        int64
	}{
		"fast":                {7 * time.Second, time.Minute, 512 << 10},
		"slow":                {8 * time.Second, time.Minute, 256 << 10},
		"slow, with no limit": {time.Hour, 0, 512 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(sizeAfter(tt.took, tt.limit), tt.want)
		})
	}
}
