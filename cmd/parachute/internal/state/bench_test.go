package state_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// filled returns a directory with n services that have nine deployments behind them.
func filled(b *testing.B, n int) (dir string, services map[string]parachute.Status) {
	b.Helper()
	services = make(map[string]parachute.Status)
	for i := range n {
		s := remembered(deployed(fmt.Sprintf("service-%05d", i), uint64(i+10)))
		for range 8 {
			s.History = append(s.History, s.History[0])
		}
		services[s.Service] = s
	}
	dir = b.TempDir()
	s, err := state.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Save(slices.Collect(maps.Values(services))); err != nil {
		b.Fatal(err)
	}
	return dir, services
}

func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir, services := filled(b, n)
			s, err := state.Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if _, _, err := s.Load(); err != nil {
				b.Fatal(err)
			}
			changed := services["service-00042"]
			for b.Loop() {
				changed.Generation++
				d := parachute.Delta{Changed: []parachute.Status{changed}, All: maps.Values(services)}
				if err := s.Commit(d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{100, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir, _ := filled(b, n)
			for b.Loop() {
				s, err := state.Open(dir)
				if err != nil {
					b.Fatal(err)
				}
				got, _, err := s.Load()
				if err != nil || len(got) != n {
					b.Fatal(len(got), err)
				}
				s.Close()
			}
		})
	}
}
