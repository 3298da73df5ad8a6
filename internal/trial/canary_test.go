package trial_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/trial"
)

// A mine is a canary of three steps of ten seconds.
type mine struct {
	*oven
	trial.Canary
	shares []int
	cannot error // why the second step cannot begin
}

func newMine() *mine {
	m := &mine{oven: newOven()}
	m.Clock, m.Drain = nil, nil
	m.Canary = trial.Canary{Steps: []int{1, 10, 100}, Step: 10 * time.Second, Begin: func(percent int) (trial.Bake, error) {
		if percent == 10 && m.cannot != nil {
			return trial.Bake{}, m.cannot
		}
		m.shares = append(m.shares, percent)
		return m.Bake, nil
	}}
	return m
}

func TestCanaryGoesThroughItsSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m, began := newMine(), time.Now()
		takenBack, err := m.TryOut(m.Canary)
		is.NoErr(err)
		is.True(!takenBack)
		is.Equal(time.Since(began), 30*time.Second)
		is.Equal(m.shares, []int{1, 10, 100})
		is.Equal(m.looks, 150)
		is.Equal(len(m.told), 30)
		is.Equal(m.told[9], "10s ") // each step has a clock of its own
		is.Equal(m.told[10], "1s ")
	})
}

func TestStepThatIsNotDecidedIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m, began := newMine(), time.Now()
		m.few = trial.MostRepeats
		takenBack, err := m.TryOut(m.Canary)
		is.NoErr(err)
		is.True(!takenBack)
		is.Equal(time.Since(began), (3+trial.MostRepeats)*10*time.Second)
		is.Equal(m.shares, []int{1, 10, 100}) // a repeated one begins once
	})
}

func TestCanaryEndsUndecidedAfterTheLastRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m, began := newMine(), time.Now()
		m.few = 1 + trial.MostRepeats
		takenBack, err := m.TryOut(m.Canary)
		is.Equal(err, trial.ErrUndecided)
		is.True(!takenBack)
		is.Equal(time.Since(began), (1+trial.MostRepeats)*10*time.Second)
		is.Equal(m.shares, []int{1})
	})
}

func TestStepThatIsWorseIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m, began := newMine(), time.Now()
		m.script = func(at time.Duration) {
			if at > 15*time.Second {
				m.worse, m.few = "slow", 1 // it is decided, though there were few requests
			}
		}
		takenBack, err := m.TryOut(m.Canary)
		is.NoErr(err)
		is.True(takenBack)
		is.Equal(time.Since(began), 15200*time.Millisecond)
		is.Equal(m.shares, []int{1, 10})
		is.Equal(m.reasons, []string{"slow"})
	})
}

func TestCanaryEndsWithTheErrorOfAStep(t *testing.T) {
	ended := errors.New("ended")
	for name, tt := range map[string]struct {
		spoil func(*mine)
		want  error
	}{
		"that cannot begin": {func(m *mine) { m.cannot = ended }, ended},
		"in its middle": {func(m *mine) {
			m.script = func(at time.Duration) {
				if at > 9900*time.Millisecond {
					m.err = ended
				}
			}
		}, ended},
		"that is stopped": {func(m *mine) { time.AfterFunc(9900*time.Millisecond, func() { close(m.stop) }) }, errStopped},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				m := newMine()
				tt.spoil(m)
				takenBack, err := m.TryOut(m.Canary)
				is.Equal(err, tt.want)
				is.True(!takenBack)
				is.Equal(m.shares, []int{1})
			})
		})
	}
}
