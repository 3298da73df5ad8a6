package main

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestListTellsWhatEachTargetIsFor(t *testing.T) {
	is := is.New(t)
	var out strings.Builder
	p := &program{stdout: &out, stderr: &out}
	is.NoErr(p.table([]parachute.Status{{
		Service: "web", Generation: 3, State: parachute.StatePaused,
		Rollout: &parachute.Rollout{Split: parachute.Split{Percent: 10, List: []string{"v1", "\x1b[31m"}}},
		Live: &parachute.Live{Held: 7, Targets: []parachute.TargetStatus{
			{Address: "a:1", Health: parachute.HealthHealthy},
			{Address: "b:1", Health: parachute.HealthUnhealthy, Reads: true},
			{Address: "c:1", Health: parachute.HealthUnknown, Rollout: true},
			{Address: "d:1", Health: parachute.HealthHealthy, Rollout: true, Reads: true},
		}},
	}, {
		Service: "shop", State: parachute.StateStopped, Stop: &parachute.Stop{Message: "Back at noon"},
		Deployment: parachute.Deployment{Targets: []string{"e:1"}, ReadTargets: []string{"f:1"}},
	}}))
	said := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"web paused (7 held) any off a:1 (healthy), b:1 (reads, unhealthy), c:1 (rollout, unknown), d:1 (rollout, reads, healthy) 3",
		"web: rollout for 10 % and v1, \ufffd[31m",
		"shop stopped any off e:1,f:1 0",
		"shop: stopped: Back at noon",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%s\nlacks: %s", out.String(), want)
		}
	}
}

func TestVisitorsOfARolloutAreTold(t *testing.T) {
	is := is.New(t)
	is.Equal(visitors(parachute.Split{}), "nobody")
	is.Equal(visitors(parachute.Split{Percent: 10}), "10 %")
	is.Equal(visitors(parachute.Split{List: []string{"v1", "v2"}}), "v1, v2")
	is.Equal(visitors(parachute.Split{Percent: 10, List: []string{"v1"}}), "10 % and v1")
}
