package buffer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/buffer"
)

func TestClosedBodiesHaveNoFile(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	s := buffer.New(buffer.Options{Dir: dir, MaxSpool: 10})
	var bodies []*buffer.Body
	for range 3 { // the last of which has too little room
		b, err := s.ReadAll(strings.NewReader("1234"), 4, buffer.Limits{Memory: -1})
		if err == nil {
			bodies = append(bodies, b)
		}
	}
	_, err := s.ReadAll(strings.NewReader("12"), -1, buffer.Limits{Memory: -1, Size: 1})
	is.Equal(err, buffer.ErrTooLarge)
	is.Equal(open(t, dir), 2)
	for _, b := range bodies {
		is.NoErr(b.Close())
	}
	is.Equal(open(t, dir), 0)
}

// open returns how many files below dir this process has open.
func open(t *testing.T, dir string) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, dir) {
			n++
		}
	}
	return n
}
