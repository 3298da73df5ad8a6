package accesslog

// The capacity of a ring. The line of a request has about 600 bytes.
const (
	keptLines = 500
	keptBytes = 1 << 20
)

// A ring keeps the last lines that were added to it. After the first add, it
// does not allocate. The zero value is empty.
type ring struct {
	lines []keptLine // line i is lines[i%keptLines]; nil before the first add
	text  []byte     // byte i of all text is text[i%keptBytes]

	first, end uint64 // numbers of the oldest kept line and of the next line
	size       uint64 // size of all text so far
}

// A keptLine is a line in a ring.
type keptLine struct {
	order   uint64 // among the lines of all rings
	service string // the service that it is about, if any
	at      uint64 // where its text begins in all text
	size    uint64 // size of its text; 0 if it was too long to be kept
}

// isFull reports whether the oldest line must be forgotten to make room for a
// line of that size.
func (r *ring) isFull(size int) bool {
	if r.first == r.end {
		return false
	}
	return r.end-r.first == keptLines || r.size+uint64(size)-r.line(r.first).at > keptBytes
}

// add adds a line, for which there must be room.
func (r *ring) add(order uint64, service string, line []byte) {
	if r.lines == nil {
		r.lines, r.text = make([]keptLine, keptLines), make([]byte, keptBytes)
	}
	n := copy(r.text[r.size%keptBytes:], line)
	copy(r.text, line[n:])
	*r.line(r.end) = keptLine{order, service, r.size, uint64(len(line))}
	r.size += uint64(len(line))
	r.end++
}

func (r *ring) line(i uint64) *keptLine { return &r.lines[i%keptLines] }

func (r *ring) appendText(dst []byte, l *keptLine) []byte {
	at := l.at % keptBytes
	if at+l.size <= keptBytes {
		return append(dst, r.text[at:at+l.size]...)
	}
	dst = append(dst, r.text[at:]...)
	return append(dst, r.text[:at+l.size-keptBytes]...)
}
