package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestScreenShowsWhatATerminalWould(t *testing.T) {
	for _, tt := range []struct{ name, printed, want string }{
		{"lines", "one\r\ntwo\r\n", "one|two"},
		{"carriage return", "connecting ...\rhealthy", "healthying ..."},
		{"erased before it is written anew", "connecting ...\r\x1b[Khealthy", "healthy"},
		{"the whole line erased", "connecting\x1b[2K\rhealthy", "healthy"},
		{"erased up to the cursor", "connecting\x1b[4D\x1b[1K", "       ing"},
		{"two lines up", "one\r\ntwo\r\n\x1b[2A\x1b[KONE\r\n\r\nthree", "ONE|two|three"},
		{"up beyond the top", "one\x1b[9A\rtwo", "two"},
		{"down and to the right", "a\x1b[Bb\x1b[2Cc", "a| b  c"},
		{"to a column", "abc\x1b[2Gx", "axc"},
		{"all below erased", "one\r\ntwo\r\nthree\x1b[2A\r\x1b[J", ""},
		{"a long line goes on in the next", "123456789012345678901234", "12345678901234567890|1234"},
		{"a full line does not", "12345678901234567890\r\n1", "12345678901234567890|1"},
		{"a tab", "a\tb", "a       b"},
		{"backspace", "ab\bc", "ac"},
		{"colours take no room", "\x1b[32mgreen\x1b[0m!", "green!"},
		{"unknown sequences neither", "\x1b[?25l\x1b7a\x1b[?25h", "a"},
		{"no ASCII", "é…", "é…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			s := newScreen(20)
			io.WriteString(s, tt.printed)
			is.Equal(text(s), tt.want)

			s = newScreen(20)
			for i := range len(tt.printed) {
				s.Write([]byte{tt.printed[i]})
			}
			is.Equal(text(s), tt.want) // also if it comes byte by byte
		})
	}
}

// text returns what is on a screen, with "|" between the rows.
func text(s *screen) string {
	var rows []string
	for _, row := range s.rows {
		var b strings.Builder
		for _, c := range row {
			if c.char == 0 {
				c.char = ' '
			}
			b.WriteRune(c.char)
		}
		rows = append(rows, b.String())
	}
	return strings.Join(rows, "|")
}

func TestRunsHaveTheirColour(t *testing.T) {
	is := is.New(t)
	s := newScreen(40)
	io.WriteString(s, "\x1b[1;31mred one\x1b[22m two\x1b[m  plain \x1b[38;5;2mgreen\x1b[39m \x1b[2mfaint")
	is.Equal(runs(s.rows[0]), []run{
		{0, "red one", 7, style{colour: palette[1], bold: true}},
		{8, "two", 3, style{colour: palette[1]}},
		{13, "plain", 5, style{}},
		{19, "green", 5, style{colour: palette[2]}},
		{25, "faint", 5, style{faint: true}},
	})
}

func TestPictureIsXML(t *testing.T) {
	is := is.New(t)
	s := newScreen(40)
	io.WriteString(s, "<a href=\"x\"> & 'y'\r\n\r\n")
	picture := svg(s, "<title>")
	is.NoErr(wellFormed(picture))
	is.True(bytes.Contains(picture, []byte("&lt;a href=&#34;x&#34;&gt; &amp; &#39;y&#39;</text>")))
}

func TestPictureOfADeployIsThere(t *testing.T) {
	is := is.New(t)
	picture, err := os.ReadFile("../../docs/deploy.svg")
	is.NoErr(err)
	is.NoErr(wellFormed(picture))
	is.True(bytes.Contains(picture, []byte(">parachute deploy web --target ")))
}

func wellFormed(document []byte) error {
	d := xml.NewDecoder(bytes.NewReader(document))
	for {
		if _, err := d.Token(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
