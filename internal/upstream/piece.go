package upstream

import "sync"

// The sizes of a piece: a small one may wait long for a body that comes little
// by little, of which there may be many; a large one saves system calls.
const (
	smallPiece = 4 << 10
	largePiece = 256 << 10
)

var (
	smallPieces = sync.Pool{New: func() any { return newPiece(smallPiece) }}
	largePieces = sync.Pool{New: func() any { return newPiece(largePiece) }}
)

func newPiece(size int) *[]byte {
	b := make([]byte, size)
	return &b
}

// A piece is a borrowed buffer for a body on its way through.
type piece struct{ buf *[]byte }

// borrowPiece returns a piece for a body of which n bytes are to come; negative:
// nobody knows.
func borrowPiece(n int64) piece {
	if n > smallPiece {
		return piece{largePieces.Get().(*[]byte)}
	}
	return piece{smallPieces.Get().(*[]byte)}
}

func (p *piece) bytes() []byte { return *p.buf }

// fit makes the next piece large if n filled this one, and small if n would
// have had room in such a one.
func (p *piece) fit(n int) {
	switch isLarge := len(*p.buf) == largePiece; {
	case !isLarge && n >= smallPiece-chunkOverhead:
		p.giveBack()
		p.buf = largePieces.Get().(*[]byte)
	case isLarge && n < smallPiece-chunkOverhead:
		p.giveBack()
		p.buf = smallPieces.Get().(*[]byte)
	}
}

func (p *piece) giveBack() {
	if len(*p.buf) == largePiece {
		largePieces.Put(p.buf)
	} else {
		smallPieces.Put(p.buf)
	}
}
