package kvtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

func TestMemory(t *testing.T) {
	for _, requirement := range kvtest.Requirements {
		t.Run(requirement.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := kvtest.NewMemory()
				defer m.Close()
				requirement.Check(t, m.Client(), m.Compact)
			})
		})
	}
}

// valueOf returns the value of a key, or "" if it is not there.
func valueOf(t *testing.T, s kv.Store, key string) string {
	t.Helper()
	pairs, _, err := s.Read(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(pairs) == 0 {
		return ""
	}
	return string(pairs[0].Value)
}

func TestFaultsAreWhatTheySay(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   kvtest.Fault
		unknown bool
		soon    string // what is there when the call has returned
		later   string // and what a minute later
	}{
		"none":                     {kvtest.Fault{}, false, "x", "x"},
		"slow":                     {kvtest.Fault{Before: time.Second, After: time.Second / 2}, false, "x", "x"},
		"the call gets lost":       {kvtest.Fault{LoseCall: true}, true, "", ""},
		"too slow":                 {kvtest.Fault{Before: time.Minute}, true, "", ""},
		"the answer gets lost":     {kvtest.Fault{LoseAnswer: true}, true, "x", "x"},
		"the answer is too slow":   {kvtest.Fault{After: time.Minute}, true, "x", "x"},
		"it is done after it ends": {kvtest.Fault{LoseAnswer: true, Late: time.Second}, true, "", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				m := kvtest.NewMemory()
				defer m.Close()
				faulty, sound := m.Client(), m.Client()
				faulty.Fail(func(kvtest.Call) kvtest.Fault { return tt.fault })
				_, ok, err := faulty.Commit(t.Context(), nil, []kv.Write{kv.Put("a", []byte("x"), 0)})
				is.Equal(ok, !tt.unknown)
				is.Equal(errors.Is(err, kv.ErrUnknown), tt.unknown)
				is.Equal(errors.Is(err, kv.ErrUnreachable), tt.unknown)
				is.Equal(valueOf(t, sound, "a"), tt.soon)
				time.Sleep(time.Minute)
				is.Equal(valueOf(t, sound, "a"), tt.later)
			})
		})
	}
}

func TestWatchGoesOnAfterAPartition(t *testing.T) {
	for name, part := range map[string]struct {
		begin, end func(*kvtest.Memory, *kvtest.Client)
	}{
		"of the client":   {func(_ *kvtest.Memory, c *kvtest.Client) { c.Cut() }, func(_ *kvtest.Memory, c *kvtest.Client) { c.Mend() }},
		"of all of them":  {func(m *kvtest.Memory, _ *kvtest.Client) { m.Stop() }, func(m *kvtest.Memory, _ *kvtest.Client) { m.Start() }},
		"which forgot it": {func(_ *kvtest.Memory, c *kvtest.Client) { c.Cut() }, func(m *kvtest.Memory, c *kvtest.Client) { m.Compact(); c.Mend() }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				m := kvtest.NewMemory()
				defer m.Close()
				parted, sound := m.Client(), m.Client()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				seen := make(chan string, 10)
				ended := make(chan error, 1)
				go func() {
					ended <- parted.Watch(ctx, "", 1, func(_ int64, changes []kv.Change) error {
						seen <- string(changes[0].Value)
						return nil
					})
				}()
				_, _, err := sound.Commit(ctx, nil, []kv.Write{kv.Put("a", []byte("1"), 0)})
				is.NoErr(err)
				is.Equal(<-seen, "1")
				part.begin(m, parted)
				sound.Commit(ctx, nil, []kv.Write{kv.Put("a", []byte("2"), 0)})
				time.Sleep(time.Minute)
				is.Equal(len(seen), 0)
				_, _, err = parted.Read(ctx, "")
				is.True(errors.Is(err, kv.ErrUnreachable))
				part.end(m, parted)
				synctest.Wait()
				switch name {
				case "of the client":
					is.Equal(<-seen, "2")
				case "of all of them":
					is.Equal(valueOf(t, sound, "a"), "1")
				default:
					is.True(errors.Is(<-ended, kv.ErrCompacted))
					return
				}
				cancel()
				is.True(errors.Is(<-ended, context.Canceled))
			})
		})
	}
}

func TestNoLeaseEndsWhileTheStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := kvtest.NewMemory()
		defer m.Close()
		c := m.Client()
		lease, err := c.Grant(t.Context(), 10*time.Second)
		is.NoErr(err)
		time.Sleep(9 * time.Second)
		m.Stop()
		time.Sleep(time.Hour)
		m.Start()
		time.Sleep(9 * time.Second)
		_, err = c.Renew(t.Context(), lease)
		is.NoErr(err)
		time.Sleep(11 * time.Second)
		_, err = c.Renew(t.Context(), lease)
		is.True(errors.Is(err, kv.ErrLeaseEnded))
	})
}

func TestFrozenClientGoesOnWithWhatItWasAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := kvtest.NewMemory()
		defer m.Close()
		frozen, other := m.Client(), m.Client()
		seen := make(chan time.Time, 1)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go frozen.Watch(ctx, "k", 1, func(int64, []kv.Change) error {
			seen <- time.Now()
			return nil
		})
		synctest.Wait()
		frozen.Freeze()
		ended := make(chan error, 1)
		go func() {
			_, _, err := frozen.Commit(ctx, nil, []kv.Write{kv.Put("sent", []byte("x"), 0)})
			ended <- err
		}()
		_, _, err := other.Commit(ctx, nil, []kv.Write{kv.Put("k", []byte("x"), 0)})
		is.NoErr(err)
		time.Sleep(time.Minute)
		is.Equal(len(ended)+len(seen), 0)
		is.Equal(valueOf(t, other, "sent"), "")
		frozen.Thaw()
		synctest.Wait()
		is.NoErr(<-ended)
		is.Equal(<-seen, time.Now())
		is.Equal(valueOf(t, other, "sent"), "x")
	})
}
