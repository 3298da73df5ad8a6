package affinity_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/affinity"
)

type candidate string

func (c candidate) Token() string { return affinity.Token([]byte("key"), "web", string(c)) }

func all(candidate) bool { return true }

// visitor returns who sends the value of a visitor who was sent to c.
func visitor(c candidate) (v affinity.Visitor) {
	v.Note(affinity.Visitor{}.Value(c.Token(), ""))
	return v
}

func TestTokensTellNothingWithoutTheKey(t *testing.T) {
	is := is.New(t)
	token := affinity.Token([]byte("key"), "web", "10.0.0.7:3000")
	is.Equal(token, affinity.Token([]byte("key"), "web", "10.0.0.7:3000")) // in every process
	for _, other := range []string{
		affinity.Token([]byte("kez"), "web", "10.0.0.7:3000"),
		affinity.Token([]byte("key"), "web", "10.0.0.8:3000"),
		affinity.Token([]byte("key"), "api", "10.0.0.7:3000"),
		affinity.Token([]byte("key"), `web" "10.0.0.7:3000`, ""),
	} {
		is.True(other != token)
	}
	key, other := affinity.NewKey(), affinity.NewKey()
	is.Equal(len(key), 32)
	is.True(string(key) != string(other))
}

func TestVisitorStaysWhereTheyAre(t *testing.T) {
	is := is.New(t)
	candidates := []candidate{"a", "b", "c"}
	for _, c := range candidates {
		for range 20 {
			picked, ok := affinity.Pick(visitor(c), candidates, all)
			is.True(ok)
			is.Equal(picked, c)
		}
	}
}

// They may all be under way at once.
func TestRequestsOfAVisitorMoveToTheSamePlace(t *testing.T) {
	is := is.New(t)
	next := []candidate{"d", "e", "f"}
	count := make(map[candidate]int)
	for range 300 {
		v := visitor("a")
		first, ok := affinity.Pick(v, next, all)
		is.True(ok)
		for range 3 {
			again, _ := affinity.Pick(v, next, all)
			is.Equal(again, first)
		}
		count[first]++
	}
	for _, c := range next {
		is.True(count[c] > 50) // the visitors of one are spread over all
	}
}

func TestOnlyWhoSuitsIsPicked(t *testing.T) {
	is := is.New(t)
	candidates := []candidate{"a", "b"}
	picked, ok := affinity.Pick(visitor("a"), candidates, func(c candidate) bool { return c != "a" })
	is.True(ok)
	is.Equal(picked, candidate("b"))
	_, ok = affinity.Pick(visitor("a"), candidates, func(candidate) bool { return false })
	is.True(!ok)
	_, ok = affinity.Pick(visitor("a"), nil, all)
	is.True(!ok)
}

func TestValuesThatCannotBeOursCountForNothing(t *testing.T) {
	is := is.New(t)
	token := candidate("a").Token()
	for _, value := range []string{
		"", "ABCD", "ABCD.", "." + token, "ABC." + token, "ABCDE." + token, "ABCD" + token, "abcd." + token, "AB.D." + token,
		"ABCD." + token[:7], "ABCD." + token + "A", "ABCD." + token + ".", "ABCD." + token + "." + token + "." + token,
		"ABCD." + strings.ToLower(token), "ABC1." + token, "ABCD.10.0.0.7", "ABCD," + token, strings.Repeat("A", 10000),
	} {
		var v affinity.Visitor
		v.Note(value)
		is.True(!v.IsKnown())  // value
		is.True(!v.Has(token)) // value
		is.True(!v.Has(""))    // value
	}
}

// A service below / and one below /api may each have sent one.
func TestVisitorStaysWithTheCandidatesOfAllTheirValues(t *testing.T) {
	is := is.New(t)
	a, b, c := candidate("a").Token(), candidate("b").Token(), candidate("c").Token()
	var v affinity.Visitor
	v.Note("ABCD." + a)
	v.Note("no")
	v.Note("EFGH." + b + "." + c)
	is.True(v.IsKnown())
	is.True(v.Has(a))
	is.True(v.Has(b))
	is.True(v.Has(c))
	is.True(!v.Has(candidate("d").Token()))
	is.Equal(v.Value(a, ""), "ABCD."+a) // the same visitor, by the first
	is.Equal(v.Value(c, a), "ABCD."+c+"."+a)
}

func BenchmarkPick(b *testing.B) {
	var candidates []candidate
	for i := range 10 {
		candidates = append(candidates, candidate(fmt.Sprintf("web-%d:3000", i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		var v affinity.Visitor
		v.Note("ABCD.AAAAAAAA")
		affinity.Pick(v, candidates, all)
	}
}
