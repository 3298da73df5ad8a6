//go:build unix

package screen

import (
	"testing"

	"github.com/matryer/is"
)

func TestKeysAreReadWhateverBytesTheyCome(t *testing.T) {
	is := is.New(t)
	read := func(bytes string) (keys []Key) {
		var k keyReader
		for _, b := range []byte(bytes) {
			if key, ok := k.read(b); ok {
				keys = append(keys, key)
			}
		}
		return keys
	}
	is.Equal(read("jq "), []Key{'j', 'q', ' '})
	is.Equal(read("\x1b[A\x1b[B\x1bOA\x1bOB"), []Key{Up, Down, Up, Down})
	is.Equal(read("\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~\x1bOH\x1bOF"), []Key{PageUp, PageDown, Home, End, Home, End, Home, End})
	is.Equal(read("\x1b[1;5Aj"), []Key{'j'}) // with ctrl, it is another key
	is.Equal(read("\x1bq"), []Key{'q'})      // the escape key, then q
	is.Equal(read("\x1b\x1b[Aq"), []Key{Up, 'q'})
	is.Equal(read("éj"), []Key{'j'})
	is.Equal(read("\x1b[0123456789012345678901234567890Aj"), []Key{'j'})
}
