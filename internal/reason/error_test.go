package reason_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/reason"
)

func TestErrorsTellTheirReasonHoweverTheyAreWrapped(t *testing.T) {
	is := is.New(t)
	spool := reason.New(reason.Spool, "no room")
	is.Equal(spool.Error(), "no room")
	is.Equal(reason.Of(spool), reason.Spool)
	is.Equal(reason.Of(fmt.Errorf("%w: %w", spool, io.ErrShortWrite)), reason.Spool)
	is.Equal(reason.Of(errors.Join(io.EOF, reason.New(reason.Dial, ""), spool)), reason.Dial) // the first one

	is.Equal(reason.Of(io.EOF), reason.None)
	is.Equal(reason.Of(nil), reason.None)
	is.True(!errors.Is(reason.New(reason.Spool, "no room"), spool)) // two that say the same are not the same
}
