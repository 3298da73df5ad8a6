package acmedns

import (
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestLongLineOfTheCommandIsCutHoweverItIsWritten(t *testing.T) {
	const long = 2*maxLine + 500
	for _, size := range []int{1, 7, maxLine - 1, maxLine, maxLine + 1, long, long + 6} {
		is := is.New(t)
		var logged []string
		l := &lines{log: func(line string) { logged = append(logged, line) }}
		for written := range slices.Chunk([]byte(strings.Repeat("x", long)+"\nshort"), size) {
			n, err := l.Write(written)
			is.NoErr(err)
			is.Equal(n, len(written))
		}
		l.end()
		is.Equal(logged, []string{strings.Repeat("x", maxLine), "short"}) // size
	}
}
