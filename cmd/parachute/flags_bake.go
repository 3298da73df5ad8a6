package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

// bakeFlags are those of deploy about the time after the switch.
type bakeFlags struct {
	Bake         bakeTime `group:"Bake:" placeholder:"60s" help:"After the switch, compare the new version for so long with the one before, which stays warm, and take the deploy back if the new one is worse; 0 is not at all."`
	MaxErrorRate percent  `group:"Bake:" placeholder:"5%" help:"Share of requests that may fail where the version before had too few to compare with."`
	MaxSlowdown  times    `group:"Bake:" placeholder:"3x" help:"How many times as long as before 99 in a hundred requests may take; 0 is any."`
	MinRequests  count    `group:"Bake:" placeholder:"50" help:"How many requests it takes to judge by errors."`

	Canary steps    `group:"Canary:" placeholder:"1%,10%,50%" help:"Have these shares of the visitors try the new version, one after the other, compare it in each step with the version that serves all others, and promote it after the last; take it back for everybody if it is worse."`
	Step   stepTime `group:"Canary:" placeholder:"30s" help:"How long each step takes. One with fewer than --min-requests is repeated, up to ten times; then it is not decided."`
}

func (f bakeFlags) canary() parachute.Canary {
	return parachute.Canary{Steps: f.Canary, Step: time.Duration(f.Step)}
}

func (f bakeFlags) bake() parachute.Bake {
	return parachute.Bake{
		For:          time.Duration(f.Bake),
		MaxErrorRate: float64(f.MaxErrorRate),
		MaxSlowdown:  float64(f.MaxSlowdown),
		MinRequests:  int(f.MinRequests),
	}
}

// withoutBake returns the flags that say how to bake where neither --bake nor --canary asks
// for it.
func (f bakeFlags) withoutBake() (flags []string) {
	if f.Bake != 0 || len(f.Canary) > 0 {
		return nil
	}
	for _, flag := range []struct {
		name  string
		given bool
	}{
		{"--max-error-rate", f.MaxErrorRate != 0},
		{"--max-slowdown", f.MaxSlowdown != 0},
		{"--min-requests", f.MinRequests != 0},
	} {
		if flag.given {
			flags = append(flags, flag.name)
		}
	}
	return flags
}

// A bakeTime is a duration of which 0 means none.
type bakeTime time.Duration

func (t *bakeTime) UnmarshalText(text []byte) error {
	d, err := parseDuration(string(text))
	*t = bakeTime(d)
	return err
}

// A stepTime is a duration of more than 0.
type stepTime time.Duration

func (t *stepTime) UnmarshalText(text []byte) error {
	d, err := parseDuration(string(text))
	if err == nil && d <= 0 {
		err = fmt.Errorf("%q is no time for a step: want more than 0, such as 30s", text)
	}
	*t = stepTime(d)
	return err
}

// The steps of a canary are shares of the visitors that grow, such as 1%,10%,50%.
type steps []int

func (s *steps) UnmarshalText(text []byte) error {
	for word := range strings.SplitSeq(string(text), ",") {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(word), "%"))
		switch {
		case err != nil || n < 1 || n > 100:
			return fmt.Errorf("%q is no step of a canary: want a share of the visitors from 1%% to 100%%, such as 10%%", word)
		case len(*s) > 0 && n <= (*s)[len(*s)-1]:
			return fmt.Errorf("%s: want steps that grow, such as 1%%,10%%,50%%", text)
		}
		*s = append(*s, n)
	}
	return nil
}

// A percent is a share, such as 5%.
type percent float64

func (p *percent) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(string(text), "%")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || !(n > 0 && n <= 100) {
		return fmt.Errorf("%q is no share of requests: want more than 0%% and at most 100%%, such as 5%%", text)
	}
	*p = percent(n / 100)
	return nil
}

// A times is a factor, such as 3x. 0 means any, which is a negative number in the
// library.
type times float64

func (t *times) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(string(text), "x"), 64)
	switch {
	case err != nil || n != n || n < 0 || n > 0 && n < 1 || n > 1e6:
		return fmt.Errorf("%q is no slowdown: want 1x or more, such as 3x, or 0 for any", text)
	case n == 0:
		n = -1
	}
	*t = times(n)
	return nil
}
