package bake_test

import (
	"math"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/bake"
)

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, tt := range []struct {
		settings bake.Settings
		fault    string
	}{
		{bake.Settings{For: -time.Second}, "bake of -1s: want more than 0, such as 1m, or 0 for none"},
		{bake.Settings{MaxErrorRate: 1.01}, "error rate of at most 1.01: want one from 0 to 1, such as 0.05"},
		{bake.Settings{MaxErrorRate: -0.01}, "error rate of at most -0.01: want one from 0 to 1, such as 0.05"},
		{bake.Settings{MaxErrorRate: math.NaN()}, "error rate of at most NaN: want one from 0 to 1, such as 0.05"},
		{bake.Settings{MaxSlowdown: 0.99}, "slowdown of at most 0.99: want 1 or more, such as 3, or a negative number for any"},
		{bake.Settings{MaxSlowdown: math.NaN()}, "slowdown of at most NaN: want 1 or more, such as 3, or a negative number for any"},
		{bake.Settings{MinRequests: -1}, "bake from -1 requests on: want 0 for the default, or more"},
	} {
		is := is.New(t)
		err := tt.settings.Check()
		is.True(err != nil)
		is.Equal(err.Error(), tt.fault)
	}
	for _, s := range []bake.Settings{{}, {For: time.Second, MaxErrorRate: 1, MaxSlowdown: 1, MinRequests: 1}, {MaxSlowdown: -0.5}} {
		is.New(t).NoErr(s.Check())
	}
}

func TestLimitsHaveDefaults(t *testing.T) {
	is := is.New(t)
	is.Equal(bake.Settings{For: time.Minute}.Limits(), bake.Limits{MaxErrorRate: 0.05, MaxSlowdown: 3, MinRequests: 50})
	is.Equal(bake.Settings{MaxErrorRate: 0.5, MaxSlowdown: -1, MinRequests: 7}.Limits(), bake.Limits{MaxErrorRate: 0.5, MaxSlowdown: -1, MinRequests: 7})
}
