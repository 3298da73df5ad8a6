package upstream

import (
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestSlowClientGetsSmallPieces(t *testing.T) {
	for name, tt := range map[string]struct {
		took, limit time.Duration
		want        int64
	}{
		"fast":                {7 * time.Second, time.Minute, 512 << 10},
		"slow":                {8 * time.Second, time.Minute, 256 << 10},
		"an eighth":           {7500 * time.Millisecond, time.Minute, 256 << 10},
		"slow, with no limit": {time.Hour, 0, 512 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(sizeAfter(tt.took, tt.limit), tt.want)
		})
	}
}

// Whatever a peer does not take is kept for it, once for each stream.
func TestPeerThatHasTakenLittleHasLittleKeptForIt(t *testing.T) {
	for name, large := range map[string]*pieces{"answer": answerPieces, "upload": uploadPieces} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			p := borrowPiece(1<<30, large)
			defer func() { p.giveBack() }()
			taken := 0
			for range 1000 {
				n := len(p.bytes())
				is.True(n == firstSize || 4*n <= taken) // at most a quarter of what it took
				taken += n
				p.fit(n)
			}
			is.Equal(len(p.bytes()), large.size) // one that takes everything saves system calls
			p.fit(100)
			is.Equal(len(p.bytes()), smallSize) // what comes little by little waits in a small one
			p.fit(smallSize)
			is.Equal(len(p.bytes()), large.size)
			p.fit(smallSize - chunkOverhead - 1)
			is.Equal(len(p.bytes()), smallSize)
			p.fit(smallSize - chunkOverhead) // fills a small one: there may be more
			is.Equal(len(p.bytes()), large.size)
		})
	}
}

func TestBodyThatIsShortHasASmallPiece(t *testing.T) {
	for n, want := range map[int64]int{-1: smallSize, 1: smallSize, smallSize: smallSize, smallSize + 1: firstSize} {
		is := is.New(t)
		p := borrowPiece(n, answerPieces)
		is.Equal(len(p.bytes()), want)
		p.giveBack()
	}
}
