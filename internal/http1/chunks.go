package http1

import (
	"bytes"
	"io"
	"net/http"
	"net/textproto"

	"github.com/shahnk19/parachute/internal/field"
)

const (
	// maxChunkLine bounds the line in front of a chunk, and maxTrailer the trailer
	// section. Either has to fit into the buffer.
	maxChunkLine = 4 << 10
	maxTrailer   = 4 << 10

	// maxExcess bounds how much of a chunked body may be something else than data.
	// Each chunk may have 16 bytes for itself and two for each byte of data, so that
	// chunks of a single byte are possible. What is more than that adds up.
	maxExcess = 16 << 10
)

var (
	errChunkSize    = &refusal{http.StatusBadRequest, "the size of a chunk is not a hexadecimal number"}
	errChunkLine    = &refusal{http.StatusBadRequest, "the line in front of a chunk is too long"}
	errChunkEnd     = &refusal{http.StatusBadRequest, "a chunk does not end with CRLF"}
	errChunkExcess  = &refusal{http.StatusBadRequest, "the body is mostly something else than data"}
	errTrailerSize  = &refusal{http.StatusBadRequest, "the trailer section is too large"}
	errChunkExtends = &refusal{http.StatusBadRequest, "the extension of a chunk has a control character"}
)

// A chunkState says what comes next.
type chunkState uint8

const (
	notChunked   chunkState = iota
	chunkSize               // the line with the size of the next chunk
	chunkData               // data of the chunk
	chunkEnd                // CRLF behind the data
	chunkTrailer            // the trailer section
)

// chunks is the state of a body that is sent in chunks (RFC 9112, section 7.1).
type chunks struct {
	state  chunkState
	excess int64  // bytes that were neither data nor due to it
	search search // for the end of the trailer section
}

// readChunks reads data, without waiting when there is some. After the last chunk
// it reads the trailer section, and returns io.EOF.
func (b *body) readChunks(p []byte) (n int, err error) {
	for len(p) > 0 {
		if b.chunks.state == chunkData {
			if n > 0 && b.in.r == b.in.w {
				return n, nil
			}
			m, err := b.readData(p)
			n += m
			p = p[m:]
			if b.left == 0 {
				b.chunks.state = chunkEnd
			}
			if err != nil {
				return n, err
			}
			continue
		}
		done, err := b.readFraming()
		switch {
		case err != nil:
			return n, err
		case !done && n > 0:
			return n, nil
		case !done:
			if err := b.fill(); err != nil {
				return n, err
			}
		}
	}
	// Whoever has the last byte may also know that it was that.
	for n > 0 && b.chunks.state != chunkData {
		done, err := b.readFraming()
		if !done || err != nil {
			return n, err
		}
	}
	return n, nil
}

// readFraming reads what comes next, which is no data, if it is in the buffer, and
// reports whether it was.
func (b *body) readFraming() (done bool, err error) {
	unread := b.in.unread()
	switch b.chunks.state {
	case chunkSize:
		end := bytes.IndexByte(unread, '\n')
		switch {
		case end >= maxChunkLine || end < 0 && len(unread) >= maxChunkLine:
			return false, errChunkLine
		case end < 0:
			return false, nil
		}
		b.in.discard(end + 1)
		return true, b.beginChunk(unread[:end+1])
	case chunkEnd:
		if len(unread) < len("\r\n") {
			return false, nil
		}
		if unread[0] != '\r' || unread[1] != '\n' {
			return false, errChunkEnd
		}
		b.in.discard(len("\r\n"))
		b.chunks.state = chunkSize
		return true, nil
	default:
		return b.readTrailer(unread)
	}
}

// beginChunk parses the line in front of a chunk: its size, and extensions, which
// nobody knows and which are for this connection only.
func (b *body) beginChunk(line []byte) error {
	if len(line) < len("0\r\n") || line[len(line)-2] != '\r' {
		return errChunkSize
	}
	k := &b.chunks
	k.excess += int64(len(line))
	line = line[:len(line)-2]
	size, extensions := line, []byte(nil)
	if semicolon := bytes.IndexByte(line, ';'); semicolon >= 0 {
		// White space in front of it is bad, but has to be taken (RFC 9112, section
		// 7.1.1).
		size, extensions = bytes.TrimRight(line[:semicolon], " \t"), line[semicolon:]
	}
	for _, c := range extensions {
		if !field.IsValueByte(c) {
			return errChunkExtends
		}
	}
	n, ok := parseHex(size)
	if !ok {
		return errChunkSize
	}
	k.excess = max(k.excess-16-2*min(n, 1<<32), 0)
	if k.excess > maxExcess {
		return errChunkExcess
	}
	b.left = n
	k.state = chunkData
	if n == 0 {
		k.state = chunkTrailer
	}
	return nil
}

// parseHex parses a hexadecimal number that has 63 bits, after any zeros.
func parseHex(b []byte) (n int64, ok bool) {
	for _, c := range b {
		var digit int64
		switch {
		case '0' <= c && c <= '9':
			digit = int64(c - '0')
		case isHex(c):
			digit = int64(c|0x20-'a') + 10
		default:
			return 0, false
		}
		if n > (1<<63-1)>>4 {
			return 0, false
		}
		n = n<<4 | digit
	}
	return n, len(b) > 0
}

// readTrailer reads the trailer section, which may have no fields.
func (b *body) readTrailer(unread []byte) (done bool, err error) {
	if len(unread) >= 2 && unread[0] == '\r' && unread[1] == '\n' {
		b.in.discard(len("\r\n"))
		return true, io.EOF
	}
	k := &b.chunks
	if len(unread) > 0 && unread[0] == '\r' {
		if len(unread) == 1 {
			return false, nil
		}
		return false, errLineEnd
	}
	end, err := k.search.run(unread, &limits{bytes: maxTrailer, fields: maxTrailer, target: maxTrailer})
	switch {
	case err == errHeadSize || err == errTargetSize || err == errFields:
		return false, errTrailerSize
	case err == errBeginning:
		return false, errFieldName
	case err != nil:
		return false, err
	case end == 0:
		return false, nil
	}
	fields, err := appendFields(nil, string(unread[:end-len("\r\n")]))
	if err != nil {
		return false, err
	}
	b.in.discard(end)
	for _, f := range fields {
		if *b.trailer == nil {
			*b.trailer = make(http.Header)
		}
		textproto.MIMEHeader(*b.trailer).Add(f.name, f.value)
	}
	return true, io.EOF
}
