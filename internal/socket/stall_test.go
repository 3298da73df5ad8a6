package socket_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/socket"
)

func TestStallLastsUntilThePeerTakesSomething(t *testing.T) {
	is := is.New(t)
	began := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	after := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	var s socket.Stall
	is.True(!s.HasBegun())
	s.Begin(began, 100)
	is.True(s.HasBegun())
	is.True(!s.Observe(after(10), 100)) // it has taken nothing
	is.Equal(s.Since(), began)
	is.Equal(s.Left(time.Minute, after(10)), 50*time.Second)
	is.True(s.Observe(after(20), 99))
	is.Equal(s.Since(), after(20))
	is.Equal(s.Left(time.Minute, after(30)), 50*time.Second)
	is.True(!s.Observe(after(30), 99))
	is.Equal(s.Left(time.Minute, after(90)), -10*time.Second)
}

func TestPeerIsLookedAtSoManyTimesUntilPatienceHasPassed(t *testing.T) {
	is := is.New(t)
	began := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	var s socket.Stall
	s.Begin(began, 100)
	is.Equal(s.NextLook(time.Minute, 4, began), began.Add(15*time.Second))
	is.Equal(s.NextLook(time.Minute, 4, began.Add(50*time.Second)), began.Add(time.Minute)) // no later than that
	is.Equal(s.NextLook(time.Minute, 1, began), began.Add(time.Minute))
}
