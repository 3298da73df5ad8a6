package main

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestBakeIsReadFromTheCommandLine(t *testing.T) {
	is := is.New(t)
	var f bakeFlags
	is.Equal(f.bake(), parachute.Bake{})
	is.NoErr(f.Bake.UnmarshalText([]byte("60s")))
	is.NoErr(f.MaxErrorRate.UnmarshalText([]byte("5%")))
	is.NoErr(f.MaxSlowdown.UnmarshalText([]byte("2.5x")))
	is.NoErr(f.MinRequests.UnmarshalText([]byte("20")))
	is.Equal(f.bake(), parachute.Bake{For: time.Minute, MaxErrorRate: 0.05, MaxSlowdown: 2.5, MinRequests: 20})
	is.NoErr(f.MaxSlowdown.UnmarshalText([]byte("0")))
	is.Equal(f.bake().MaxSlowdown, -1.0) // any
}

func TestBakeThatCannotBeIsNoFlag(t *testing.T) {
	is := is.New(t)
	var f bakeFlags
	for _, text := range []string{"130%", "0%", "-1%", "5", "x%", "NaN%", ""} {
		is.True(f.MaxErrorRate.UnmarshalText([]byte(text)) != nil)
	}
	for _, text := range []string{"-1x", "0.5x", "x", "NaN", "Inf", ""} {
		is.True(f.MaxSlowdown.UnmarshalText([]byte(text)) != nil)
	}
	for _, text := range []string{"-1s", "60", "1us"} {
		is.True(f.Bake.UnmarshalText([]byte(text)) != nil)
	}
}

func TestFlagsOfABakeThatDoesNotTakePlaceAreNamed(t *testing.T) {
	is := is.New(t)
	f := bakeFlags{MaxErrorRate: 0.1, MinRequests: 3}
	is.Equal(f.withoutBake(), []string{"--max-error-rate", "--min-requests"})
	f.Bake = bakeTime(time.Second)
	is.Equal(len(f.withoutBake()), 0)
}

func TestBakeIsShownAgainstTheVersionBefore(t *testing.T) {
	is := is.New(t)
	f := newFormatter(parachute.Deployment{Service: "web", Targets: []string{"new:80"}})
	e := parachute.Event{Kind: parachute.EventBaking, Service: "web", Limit: time.Minute, Bake: &parachute.BakeReport{
		Before: parachute.BakeFigures{Requests: 1000, Errors: 5, P99: 12 * time.Millisecond},
	}}
	line := f.format(e)[0]
	is.Equal(line.status+" "+line.detail, "baking 0 requests; before: errors 0.5%, p99 12ms")
	is.True(line.isNew)
	e.Elapsed, e.Bake.Now = 30*time.Second, parachute.BakeFigures{Requests: 200, Errors: 4, P99: 13 * time.Millisecond}
	line = f.format(e)[0]
	is.Equal(line.detail, "200 requests, errors 2.0%, p99 13ms; before: errors 0.5%, p99 12ms")
	is.True(!line.isNew) // it updates the line on a terminal
	e.Elapsed, e.Bake.Note = time.Minute, "too little traffic to judge: 12 requests"
	line = f.format(e)[0]
	is.Equal(line.status+" "+line.detail, "baked too little traffic to judge: 12 requests")
	is.True(line.isNew)

	taken := f.format(parachute.Event{Kind: parachute.EventTakenBack, Targets: []string{"old:80"}})[0]
	is.Equal(taken.status+" "+taken.detail, "taken back to old:80")
}

func TestCanaryIsReadFromTheCommandLine(t *testing.T) {
	is := is.New(t)
	var f bakeFlags
	is.NoErr(f.Canary.UnmarshalText([]byte("1%, 10%,50")))
	is.NoErr(f.Step.UnmarshalText([]byte("45s")))
	is.Equal(f.canary(), parachute.Canary{Steps: []int{1, 10, 50}, Step: 45 * time.Second})
	f.MinRequests = 3
	is.Equal(len(f.withoutBake()), 0) // a canary bakes at each step
	for _, text := range []string{"", "0%", "101%", "x", "1.5%", "50%,10%", "10%,10%", "10%,,20%"} {
		var s steps
		is.True(s.UnmarshalText([]byte(text)) != nil) // text
	}
	for _, text := range []string{"0", "-1s", "1", "1us"} {
		is.True(f.Step.UnmarshalText([]byte(text)) != nil) // text
	}
}

func TestCanaryIsShownBesideWhatServesTheOthers(t *testing.T) {
	is := is.New(t)
	f := newFormatter(parachute.Deployment{Service: "web", Targets: []string{"new:80"}})
	split := &parachute.Split{Percent: 10}
	line := f.format(parachute.Event{Kind: parachute.EventSwitched, Service: "web", Generation: 2, Split: split})[0]
	is.Equal(line.status+" "+line.detail, "switched canary for 10 %, generation 2")
	e := parachute.Event{Kind: parachute.EventBaking, Service: "web", Limit: time.Minute, Elapsed: time.Second, Split: split, Bake: &parachute.BakeReport{
		Now:    parachute.BakeFigures{Requests: 200, Errors: 4, P99: 13 * time.Millisecond},
		Before: parachute.BakeFigures{Requests: 1000, Errors: 5, P99: 12 * time.Millisecond},
	}}
	line = f.format(e)[0]
	is.Equal(line.status+" "+line.detail, "10 % 200 requests, errors 2.0%, p99 13ms; others: errors 0.5%, p99 12ms")
	e.Elapsed = time.Minute
	line = f.format(e)[0]
	is.True(line.isNew && !line.ongoing)
	is.Equal(line.status, "10 %")
}
