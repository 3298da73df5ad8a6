package forward_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
)

func TestClientHasLeftWhereTheContextEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		version int
		after   time.Duration // negative: never
		want    bool
	}{
		"HTTP/1, before":      {1, 0, true},
		"HTTP/1, never":       {1, -1, false},
		"HTTP/2, before":      {2, 0, true},
		"HTTP/2, a moment on": {2, 5 * time.Millisecond, true},
		"HTTP/3, a moment on": {3, 5 * time.Millisecond, true},
		"HTTP/2, long after":  {2, time.Second, false},
		"HTTP/2, never":       {2, -1, false},
		"HTTP/1, a moment on": {1, 5 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				switch {
				case tt.after == 0:
					cancel()
				case tt.after > 0:
					defer time.AfterFunc(tt.after, cancel).Stop()
				}
				r := httptest.NewRequest("POST", "/", nil).WithContext(ctx)
				r.ProtoMajor = tt.version
				is.Equal(forward.HasLeft(r), tt.want)
			})
		})
	}
}
