package upstream

import (
	"sync"
	"time"
)

// The sizes of a piece. A small one is for a body that comes little by little: there may be
// many of those, which wait for long. Others begin with firstSize. They become large, which
// saves system calls, once the peer has taken grownBy times the large size. So a peer that
// takes nothing has little memory kept for it, however many streams it opens, and one that
// stops later at most a part of what it took. A piece of an answer is written under one
// deadline. A client that takes less in that time counts as one that takes nothing,
// unless its server puts deadlines off.
const (
	smallSize  = 4 << 10
	firstSize  = 32 << 10
	answerSize = 256 << 10
	spliceSize = 512 << 10 // see sizeAfter
	uploadSize = 512 << 10

	grownBy = 4
)

// sizeAfter returns how large the next piece of a splice is, if the client took so long
// for the one before. limit is how long it may take; not positive: for ever. One that
// is far from its limit is given more at once.
func sizeAfter(took, limit time.Duration) int64 {
	if limit <= 0 || took < limit/8 {
		return spliceSize
	}
	return answerSize
}

var (
	smallPieces  = newPieces(smallSize)
	firstPieces  = newPieces(firstSize)
	answerPieces = newPieces(answerSize)
	uploadPieces = newPieces(uploadSize)
)

// pieces are the free pieces of one size.
type pieces struct {
	size int
	free sync.Pool
}

func newPieces(size int) *pieces {
	return &pieces{size: size, free: sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}}
}

// A piece is a borrowed buffer for a body on its way through.
type piece struct {
	buf   *[]byte
	of    *pieces // buf is from there
	large *pieces // what it may become
	taken int     // how much of the body the peer has taken, up to where the piece may be large
}

// borrowPiece returns a piece for a body of which n bytes are to come; negative:
// nobody knows. It may become one of large.
func borrowPiece(n int64, large *pieces) piece {
	p := piece{large: large, of: firstPieces}
	if n <= smallSize {
		p.of = smallPieces
	}
	p.buf = p.of.free.Get().(*[]byte)
	return p
}

func (p *piece) bytes() []byte { return *p.buf }

// fit makes the next piece as large as suits a body of which n bytes filled this
// one, and were taken: small if they would have had room in such a one.
func (p *piece) fit(n int) {
	full := grownBy * p.large.size
	p.taken = min(p.taken+n, full)
	of := firstPieces
	switch {
	case n < smallSize-chunkOverhead:
		of = smallPieces
	case p.taken == full:
		of = p.large
	}
	if of != p.of {
		p.giveBack()
		p.of = of
		p.buf = of.free.Get().(*[]byte)
	}
}

func (p *piece) giveBack() { p.of.free.Put(p.buf) }
