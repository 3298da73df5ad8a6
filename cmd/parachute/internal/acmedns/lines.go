package acmedns

import (
	"bytes"
	"strings"
)

// maxLines is how many lines of a command's output are logged, and maxLine how many bytes
// of each.
const (
	maxLines = 100
	maxLine  = 1024
)

// lines logs what is written, by lines. Of a line that is longer than maxLine, only the
// beginning is logged, however the command's writes divide it.
type lines struct {
	log  func(line string)
	rest []byte // of the last line, until it ends
	n    int    // how many were logged
	last string // of them
}

func (l *lines) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		l.rest = append(l.rest, part[:min(len(part), maxLine-len(l.rest))]...)
		if part[len(part)-1] == '\n' {
			l.end()
		}
	}
	return len(p), nil
}

// end logs what there is of a line.
func (l *lines) end() {
	line := strings.TrimSpace(strings.ToValidUTF8(string(l.rest), "\uFFFD"))
	l.rest = l.rest[:0]
	if line == "" || l.n == maxLines {
		return
	}
	l.n++
	l.last = line
	l.log(line)
}
