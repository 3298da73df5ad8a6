package socket

import (
	"io"
	"testing"

	"github.com/matryer/is"
)

// Where no more files may be opened there are no pipes, and what would have
// been spliced is copied.
func TestReadFromCopiesWhereThereAreNoPipes(t *testing.T) {
	is := is.New(t)
	conn, client := pair(t)
	conn.pipes = new(Pipes)
	src, app := pair(t)
	_, err := io.WriteString(app, "hello, world")
	is.NoErr(err)
	n, err := conn.ReadFrom(io.LimitReader(src.nc, 5))
	is.NoErr(err)
	is.Equal(n, int64(5))
	is.NoErr(conn.Close())
	got, err := io.ReadAll(client)
	is.NoErr(err)
	is.Equal(string(got), "hello")
}
