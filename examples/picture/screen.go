package main

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// A style is how a cell looks. The zero value is plain.
type style struct {
	colour string // as SVG has it; "": that of the terminal
	bold   bool
	faint  bool
}

// A cell is one place of a screen.
type cell struct {
	char  rune // 0: nothing was written there
	style style
}

// A screen is a terminal's, as far as programs that print lines and write over
// them use one: it knows the line's end and its beginning, the cursor's moves,
// erasing and colours. Other than a terminal it keeps what would have scrolled
// out of sight.
type screen struct {
	columns int
	rows    [][]cell
	row     int // of the cursor
	column  int // likewise; columns is behind the last one
	style   style
	rest    []byte // the beginning of a rune or an escape sequence whose end is yet to come
}

func newScreen(columns int) *screen { return &screen{columns: columns} }

// Write takes what a program prints. It never fails.
func (s *screen) Write(p []byte) (int, error) {
	b := append(s.rest, p...)
	for len(b) > 0 {
		n := s.next(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	s.rest = append([]byte(nil), b...)
	return len(p), nil
}

// next does what the beginning of b says, and returns how long that is, or 0 if
// it goes on in what was not read yet.
func (s *screen) next(b []byte) int {
	switch b[0] {
	case '\x1b':
		return s.escape(b)
	case '\n':
		s.row++
		return 1
	case '\r':
		s.column = 0
		return 1
	case '\b':
		s.column = max(s.column-1, 0)
		return 1
	case '\t':
		s.column = min(s.column/8*8+8, s.columns-1)
		return 1
	}
	if b[0] < ' ' || b[0] == 0x7f {
		return 1
	}
	if !utf8.FullRune(b) {
		return 0
	}
	r, n := utf8.DecodeRune(b)
	s.put(r)
	return n
}

// put writes a character where the cursor is.
func (s *screen) put(r rune) {
	if s.column >= s.columns {
		s.row, s.column = s.row+1, 0
	}
	s.reach()
	line := s.rows[s.row]
	for len(line) <= s.column {
		line = append(line, cell{})
	}
	line[s.column] = cell{r, s.style}
	s.rows[s.row] = line
	s.column++
}

// reach makes the row of the cursor.
func (s *screen) reach() {
	for len(s.rows) <= s.row {
		s.rows = append(s.rows, nil)
	}
}

// escape follows an escape sequence. What it does not know it leaves out.
func (s *screen) escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if b[1] != '[' {
		return 2
	}
	for i := 2; i < len(b); i++ {
		if b[i] >= '@' && b[i] <= '~' {
			s.control(b[i], string(b[2:i]))
			return i + 1
		}
	}
	return 0
}

// control does what the sequence "ESC [ args final" says.
func (s *screen) control(final byte, args string) {
	n, err := strconv.Atoi(args)
	if err != nil {
		n = 0
	}
	switch final {
	case 'A':
		s.row = max(s.row-max(n, 1), 0)
	case 'B':
		s.row += max(n, 1)
	case 'C':
		s.column = min(s.column+max(n, 1), s.columns-1)
	case 'D':
		s.column = max(s.column-max(n, 1), 0)
	case 'G':
		s.column = min(max(n, 1), s.columns) - 1
	case 'K':
		s.eraseLine(n)
	case 'J':
		s.eraseBelow()
	case 'm':
		s.style = s.style.apply(args)
	}
}

// eraseLine erases the line of the cursor: from there on (0), up to there (1),
// or all of it (2).
func (s *screen) eraseLine(n int) {
	s.reach()
	line := s.rows[s.row]
	switch at := min(s.column, len(line)); n {
	case 0:
		s.rows[s.row] = line[:at]
	case 1:
		clear(line[:min(at+1, len(line))])
	case 2:
		s.rows[s.row] = nil
	}
}

// eraseBelow erases everything from the cursor on.
func (s *screen) eraseBelow() {
	s.eraseLine(0)
	s.rows = s.rows[:s.row+1]
}

// apply returns t as the numbers of a sequence "ESC [ args m" change it.
func (t style) apply(args string) style {
	numbers := strings.Split(args, ";")
	for i := 0; i < len(numbers); i++ {
		n, _ := strconv.Atoi(numbers[i]) // nothing is 0
		switch {
		case n == 0:
			t = style{}
		case n == 1:
			t.bold = true
		case n == 2:
			t.faint = true
		case n == 22:
			t.bold, t.faint = false, false
		case n >= 30 && n <= 37:
			t.colour = palette[n-30]
		case n == 38 && i+2 < len(numbers) && numbers[i+1] == "5":
			t.colour = indexed(numbers[i+2])
			i += 2
		case n == 39:
			t.colour = ""
		case n >= 90 && n <= 97:
			t.colour = palette[n-90+8]
		}
	}
	return t
}

// palette are the sixteen colours that every terminal has, on a dark ground.
var palette = [16]string{
	"#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d7dae0",
	"#7f8796", "#ef8a92", "#b2d99a", "#f0d39b", "#86c5f7", "#d99be8", "#7fcdd6", "#ffffff",
}

// indexed returns the colour of a number among 256, of which those behind the
// sixteen are left out.
func indexed(number string) string {
	if n, err := strconv.Atoi(number); err == nil && n >= 0 && n < len(palette) {
		return palette[n]
	}
	return ""
}
