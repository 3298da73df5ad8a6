package trial

import (
	"errors"
	"time"
)

// A Canary is a trial in steps. In each of them, a larger share of the visitors goes to
// Brought, and the others go to Gone.
type Canary struct {
	Steps []int         // the shares, in percent
	Step  time.Duration // how long each step takes

	// Begin has a share of the visitors go to Brought, and returns the Bake by which the
	// step is judged; its Clock is that of the Canary. An error ends the Canary.
	Begin func(percent int) (Bake, error)
}

// MostRepeats is how often a step that is not decided is repeated.
const MostRepeats = 10

// ErrUndecided is the error of a Canary whose step was not decided the last time either.
var ErrUndecided = errors.New("the step is not decided")

// TryOut bakes Brought in the steps of c, one after the other. A step that is not decided
// at its end is repeated: what Judge has seen until then counts. TryOut reports whether
// TakeBack has succeeded. Otherwise err is nil after the last step, ErrUndecided, or the
// error of Begin or of a Bake.
func (t *Trial[T]) TryOut(c Canary) (takenBack bool, err error) {
	for _, percent := range c.Steps {
		b, err := c.Begin(percent)
		if err != nil {
			return false, err
		}
		if takenBack, err := t.decide(b, c.Step); takenBack || err != nil {
			return takenBack, err
		}
	}
	return false, nil
}

// decide bakes with b for the length of a step, and again until b is decided.
func (t *Trial[T]) decide(b Bake, step time.Duration) (takenBack bool, err error) {
	for range 1 + MostRepeats {
		b.Clock = NewClock(step)
		if takenBack, err := t.Bake(b); takenBack || err != nil || b.IsDecided() {
			return takenBack, err
		}
	}
	return false, ErrUndecided
}
