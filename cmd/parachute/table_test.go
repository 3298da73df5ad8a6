package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// services is a table as list has it.
func services() *textTable {
	items := func(names ...string) cell {
		c := cell{itemList: &itemList{separator: ","}}
		for _, name := range names {
			c.items = append(c.items, item{pieces: []string{name}, kind: "more"})
		}
		return c
	}
	return &textTable{
		header: []string{"SERVICE", "HOSTS", "N"}, maxCellLines: 3,
		rows: [][]cell{
			{unbreakable("web"), items("a.test", "b.test", "c.test", "d.test", "e.test"), unbreakable("12")},
			{unbreakable("api"), breakable("why it is so and not otherwise"), unbreakable("7")},
		},
		notes: [][]string{{"a first note", "a second"}, nil},
	}
}

func TestATableThatFitsIsNotBroken(t *testing.T) {
	is := is.New(t)
	want := `SERVICE  HOSTS                               N
web      a.test,b.test,c.test,d.test,e.test  12
api      why it is so and not otherwise      7
web: a first note
web: a second
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
api      why it is so and   7
         not otherwise
web: a first note
web: a second
`)
	is.Equal(services().text(22), `SERVICE  HOSTS      N
web      a.test,    12
         b.test,
         +3 more
api      why it is  7
         so and
         not…
web: a first note
web: a second
`)
}

func TestATableWithoutRoomIsMadeOfCards(t *testing.T) {
	is := is.New(t)
	is.Equal(services().text(20), `service  web
hosts    a.test,
         b.test,
         +3 more
n        12
note     a first
         note
         a second

service  api
hosts    why it is
         so and not
         otherwise
n        7
`)
	is.Equal(services().text(9), `service
  web
hosts
  a.test,
  b.test,
  +3 more
n
  12
note
  a first
  note
  a
  second

service
  api
hosts
  why it
  is so
  and no…
n
  7
`)
}

func TestNoLineIsWiderThanTheTerminal(t *testing.T) {
	long := services()
	long.rows = append(long.rows, []cell{unbreakable(strings.Repeat("x", 300)), breakable(strings.Repeat("word ", 200)), unbreakable("é")})
	long.notes = append(long.notes, []string{strings.Repeat("z", 300)})
	wide := services()
	wide.rows[0][0] = unbreakable("店店店")
	wide.rows[1][1] = breakable("本日は 休業いたします e\u0301e\u0301e\u0301e\u0301")
	for columns := 1; columns < 400; columns++ {
		for _, of := range []*textTable{long, wide} {
			for line := range strings.Lines(of.text(columns)) {
				if line = strings.TrimSuffix(line, "\n"); displayWidth(line) > columns || strings.TrimRight(line, " ") != line {
					t.Fatalf("in %d columns: %q", columns, line)
				}
			}
		}
	}
}

func TestWideCharactersTakeTwoColumns(t *testing.T) {
	is := is.New(t)
	is.Equal(displayWidth("店"), 2)
	is.Equal(displayWidth("ＡＢ"), 4) // fullwidth letters
	is.Equal(displayWidth("🚀"), 2)
	is.Equal(displayWidth("e\u0301é"), 2) // a combining accent takes none
	is.Equal(truncate("店店店", 5), "店店…")
	is.Equal(truncate("店店店", 4), "店…")
	is.Equal(truncate("店店", 4), "店店")
	is.Equal(truncate("ab", 0), "")
	odd := textTable{header: []string{"A", "B"}, rows: [][]cell{{unbreakable("店"), unbreakable("x")}, {unbreakable("abcd"), unbreakable("y")}}}
	is.Equal(odd.text(80), "A     B\n店    x\nabcd  y\n")
}

func TestCellsCannotBreakTheTable(t *testing.T) {
	is := is.New(t)
	odd := textTable{header: []string{"A", "B", "C"}, rows: [][]cell{{unbreakable("a\x1b[31m"), breakable("b\nc"), listCell([]string{"d\r", "e\n"}, ", ")}}}
	is.Equal(odd.text(0), fmt.Sprintf("A       B    C\na%c[31m  b c  d%[1]c, e\n", '\ufffd'))
}
