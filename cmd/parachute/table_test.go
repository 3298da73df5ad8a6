package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// services is a table as list has it.
func services() *table {
	return &table{header: []string{"SERVICE", "HOSTS", "N"}, maxCellLines: 3, rows: [][]cell{
		{unbreakable("web"), listCell([]string{"a.test", "b.test", "c.test", "d.test", "e.test"}, ","), unbreakable("12")},
		{unbreakable("api"), breakable("why it is so"), unbreakable("7")},
	}}
}

func TestATableThatFitsIsNotBroken(t *testing.T) {
	is := is.New(t)
	want := `SERVICE  HOSTS                               N
web      a.test,b.test,c.test,d.test,e.test  12
api      why it is so                        7
`
	is.Equal(services().text(0), want) // no terminal
	is.Equal(services().text(200), want)
	is.Equal(services().text(47), want) // just so
}

func TestATableIsBrokenToFit(t *testing.T) {
	is := is.New(t)
	is.Equal(services().text(30), `SERVICE  HOSTS              N
web      a.test,b.test,     12
         c.test,d.test,
         e.test
api      why it is so       7
`)
	is.Equal(services().text(22), `SERVICE  HOSTS      N
web      a.test,    12
         b.test,
         +3 more
api      why it is  7
         so
`)
	is.Equal(services().text(16), `SERV…  HOSTS  N
web    a.te…  12
       b.te…
       +3 m…
api    why    7
       it is
       so
`)
}

func TestNoLineIsWiderThanTheTerminal(t *testing.T) {
	long := services()
	long.rows = append(long.rows, []cell{unbreakable(strings.Repeat("x", 300)), breakable(strings.Repeat("word ", 200)), unbreakable("é")})
	for columns := 1; columns < 400; columns++ {
		text := long.text(columns)
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); displayWidth(line) > columns || strings.TrimRight(line, " ") != line {
				t.Fatalf("in %d columns: %q", columns, line)
			}
		}
		if n := strings.Count(text, "\n"); n > 4*3 {
			t.Fatalf("in %d columns there are %d lines", columns, n)
		}
	}
}

func TestCellsCannotBreakTheTable(t *testing.T) {
	is := is.New(t)
	odd := table{rows: [][]cell{{unbreakable("a\x1b[31m"), breakable("b\nc"), listCell([]string{"d\r", "e\n"}, ", ")}}}
	is.Equal(odd.text(0), fmt.Sprintf("a%c[31m  b c  d%[1]c, e\n", '\ufffd'))
}
