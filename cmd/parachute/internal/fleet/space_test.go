package fleet_test

import (
	"context"
	"strings"
	"testing"
	"time"

	checks "github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// Etcd says the same of what took its last space, and of what found none.
func TestStoreWithoutSpaceHasMadeAChangeOrHasNot(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		ctx, a := context.Background(), w.nodes["a"]
		time.Sleep(time.Minute)
		w.memory.Fill(1)
		is.NoErr(a.proxy.Stop(ctx, "web", parachute.Stop{})) // it was made
		begun := time.Now()
		err := a.proxy.Resume(ctx, "web")
		is.True(err != nil && strings.Contains(err.Error(), "the store did not make the change"))
		is.True(strings.Contains(err.Error(), "there is no space left"))
		is.True(time.Since(begun) < time.Second) // there is nothing to wait for
		time.Sleep(time.Minute)
		is.Equal(w.all(), strings.TrimSpace(strings.Repeat("503 Service Unavailable ", 3)))
		is.True(a.isReady()) // leases need no space
		w.memory.Empty()
		is.NoErr(a.change("web", func() error { return a.proxy.Resume(ctx, "web") }))
		is.Equal(w.all(), "one one one")
	})
}
