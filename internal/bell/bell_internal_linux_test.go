package bell

import (
	"errors"
	"os"
	"testing"

	"github.com/matryer/is"
)

// The runtime's poller takes no more descriptors than the system lets a user watch, and none
// of a folder.
func TestThereIsNoBellThatTheRuntimeDoesNotWaitFor(t *testing.T) {
	is := is.New(t)
	folder, err := os.Open(t.TempDir())
	is.NoErr(err)
	_, err = newBell(folder)
	is.True(errors.Is(err, os.ErrNoDeadline))
	is.True(errors.Is(folder.Close(), os.ErrClosed))
}
