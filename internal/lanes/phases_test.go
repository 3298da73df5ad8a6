package lanes_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/lanes"
)

func TestPhasesTellWhoIsStillWaitedFor(t *testing.T) {
	is := is.New(t)
	var c lanes.Changes[closable, string]
	is.Equal(len(c.Phases())+len(c.Lanes()), 0)
	a := newClosable("a")
	l := lanes.New(a, exchanges{func() int64 { return 0 }})
	passage, _ := l.Enter()
	endDrain := c.Begin("web", "draining", lanes.Set[closable]{l})
	endDeploy := c.Begin("api", "deploying", nil)
	leave(is, &c.Remainders, "web", newClosable("b"))

	is.Equal(c.Phases(), []lanes.Phase[string]{{"web", "draining", 1, 0}, {"api", "deploying", 0, 0}})
	is.Equal(len(c.Lanes()), 2) // what was left behind is waited for as well
	passage.Leave()
	is.Equal(c.Phases()[0], lanes.Phase[string]{Service: "web", Change: "draining"})
	endDrain()
	is.Equal(c.Phases(), []lanes.Phase[string]{{"api", "deploying", 0, 0}})
	is.Equal(len(c.Lanes()), 1)
	endDeploy()
	is.Equal(len(c.Phases()), 0)
}
