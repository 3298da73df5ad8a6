package upstream

import (
	"sync"
	"time"
)

// The sizes of a piece: a small one may wait long for a body that comes little
// by little, of which there may be many; a large one saves system calls. One of
// an answer is written under one deadline. A client that takes less in that time
// counts as one that takes nothing, unless its server puts deadlines off.
const (
	smallSize  = 4 << 10
	answerSize = 256 << 10
	spliceSize = 512 << 10 // see sizeAfter
	uploadSize = 512 << 10
)

// sizeAfter returns how large the next piece of a splice is, if the client took
// that long for the one before, of limit; not positive: for ever. One that is
// far from its limit is given more at once.
func sizeAfter(took, limit time.Duration) int64 {
	if limit <= 0 || took < limit/8 {
		return spliceSize
	}
	return answerSize
}

var (
	smallPieces  = newPieces(smallSize)
	answerPieces = newPieces(answerSize)
	uploadPieces = newPieces(uploadSize)
)

func newPieces(size int) *sync.Pool {
	return &sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}
}

// A piece is a borrowed buffer for a body on its way through.
type piece struct {
	buf   *[]byte
	large *sync.Pool
	small bool // buf is from smallPieces; else from large
}

// borrowPiece returns a piece for a body of which n bytes are to come; negative:
// nobody knows. It is large, or may become so, as those of a pool are.
func borrowPiece(n int64, large *sync.Pool) piece {
	p := piece{large: large, small: n <= smallSize}
	p.buf = p.pool().Get().(*[]byte)
	return p
}

func (p *piece) pool() *sync.Pool {
	if p.small {
		return smallPieces
	}
	return p.large
}

func (p *piece) bytes() []byte { return *p.buf }

// fit makes the next piece large if n filled this one, and small if n would
// have had room in such a one.
func (p *piece) fit(n int) {
	if small := n < smallSize-chunkOverhead; small != p.small {
		p.giveBack()
		p.small = small
		p.buf = p.pool().Get().(*[]byte)
	}
}

func (p *piece) giveBack() { p.pool().Put(p.buf) }
