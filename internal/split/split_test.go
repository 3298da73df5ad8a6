package split_test

import (
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/split"
)

func TestVisitorsOfTheListAreInWhateverThePercentage(t *testing.T) {
	is := is.New(t)
	list := []string{"ann", "bob, too", "ann"}
	for _, percent := range []int{0, 1} {
		s := newSplit(t, percent, list...)
		for _, value := range list {
			second, set := s.Second(value, "", false)
			is.True(second) // by the app's cookie
			is.Equal(set, "")
			second, set = s.Second("", value, false)
			is.True(second) // by ours
			is.Equal(set, "")
			second, _ = s.Second("somebody", value, false)
			is.True(second) // by ours beside another of the app's
		}
	}
	second, set := newSplit(t, 0, list...).Second("eve", "Ann", true)
	is.True(!second)
	is.Equal(set, "")
}

func TestWithoutAPercentageNobodyGetsACookie(t *testing.T) {
	is := is.New(t)
	second, set := newSplit(t, 0, "ann").Second("", "", true)
	is.True(!second) // the first version
	is.Equal(set, "")
}

func TestThereIsNoSplitWhereNobodyGoesToTheSecondVersion(t *testing.T) {
	is := is.New(t)
	for _, o := range []split.Options{{}, {CookieOnly: true}, {List: []string{}}} {
		s, err := split.New(o)
		is.NoErr(err)
		is.True(s == nil)
	}
	_, err := split.New(split.Options{Percent: -1})
	is.True(err != nil) // which is no reason not to look
}

func TestWhatIsLeftOpenIsAsBefore(t *testing.T) {
	before := split.Options{Percent: 10, List: []string{"ann"}, CookieOnly: true, Preview: "X-Preview: secret"}
	for _, tt := range []struct{ o, want split.Options }{
		{split.Options{}, before},
		{split.Options{CookieOnly: false}, before}, // false says nothing
		{split.Options{Preview: "X-Other: secret"}, split.Options{Percent: 10, List: []string{"ann"}, CookieOnly: true, Preview: "X-Other: secret"}},
		{split.Options{Percent: 20}, split.Options{Percent: 20, Preview: "X-Preview: secret"}},
		{split.Options{List: []string{"eve"}, CookieOnly: true}, split.Options{List: []string{"eve"}, CookieOnly: true, Preview: "X-Preview: secret"}},
	} {
		is := is.New(t)
		is.Equal(tt.o.Over(before), tt.want)
	}
}

// These buckets may never change: visitors would be moved by an update, and
// two machines of different versions would disagree.
func TestBucketsAreTheSameEverywhereAndForever(t *testing.T) {
	for value, bucket := range map[string]int{"1": 13, "2": 46, "ann": 70, "42": 37, "ABCD": 74, strings.Repeat("x", 1000): 19} {
		is := is.New(t)
		second, _ := newSplit(t, bucket, "-").Second("", value, false)
		is.True(!second) // not yet in
		second, _ = newSplit(t, bucket+1).Second("", value, false)
		is.True(second) // in from here on
	}
}

// What kamal-proxy did was seen there, and is a table of value and side.
func TestAccountIsOnTheSideWhereKamalProxyHasIt(t *testing.T) {
	is := is.New(t)
	table, err := os.ReadFile("testdata/rollout-25-percent.tsv")
	is.NoErr(err)
	s := newSplit(t, 25, "vip1", "vip2")
	accounts := 0
	for line := range strings.Lines(string(table)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		value, side, ok := strings.Cut(strings.TrimSpace(line), "\t")
		is.True(ok) // value and side
		accounts++
		second, set := s.Second(value, "", false)
		if second != (side == "rollout") || set != "" {
			t.Errorf("%s: second version %v, cookie %q, want the side %s", value, second, set, side)
		}
	}
	is.Equal(accounts, 41)
}

// The hash of "a" is 0xe40c292c, which is 89.08 percent of the largest (the FNV
// specification has it among its examples).
func TestPercentageOfKamalProxyEndsBehindTheHash(t *testing.T) {
	is := is.New(t)
	second, _ := newSplit(t, 89).Second("a", "", false)
	is.True(!second) // not yet in
	second, _ = newSplit(t, 90).Second("a", "", false)
	is.True(second) // in from here on
	for _, value := range []string{"", "b", "foobar", strings.Repeat("x", 1000)} {
		second, _ = newSplit(t, 100).Second(value, "", false)
		is.True(second) // everybody is
	}
}

func TestVisitorsWithoutACookieMayBeLeftWhereTheyAre(t *testing.T) {
	is := is.New(t)
	s, err := split.New(split.Options{Percent: 100, List: []string{"ann"}, CookieOnly: true})
	is.NoErr(err)
	for range 100 {
		second, set := s.Second("", "", false)
		is.True(!second) // with the first version
		is.Equal(set, "")
	}
	for _, known := range [][2]string{{"ann", ""}, {"", "ann"}, {"somebody", ""}, {"", "somebody"}} {
		second, set := s.Second(known[0], known[1], false)
		is.True(second) // they are known
		is.Equal(set, "")
	}
}

func TestGrowingPercentagesKeepThoseWhoAreInAndAreMet(t *testing.T) {
	const visitors = 2000
	before, byKamal := make([]bool, visitors), make([]bool, visitors)
	for percent := range 101 {
		s := newSplit(t, percent, "-") // which is there at 0 percent, too
		in := 0
		for i := range visitors {
			second, set := s.Second("", strconv.Itoa(i), false)
			kamal, none := s.Second(strconv.Itoa(i), "", false)
			if byKamal[i] && !kamal {
				t.Fatalf("visitor %d of kamal-proxy was in at less than %d percent, and is not now", i, percent)
			}
			byKamal[i] = kamal
			if set+none != "" {
				t.Fatalf("visitor %d got %q beside the cookie they have", i, set)
			}
			if before[i] && !second {
				t.Fatalf("visitor %d was in at less than %d percent, and is not now", i, percent)
			}
			if before[i] = second; second {
				in++
			}
		}
		if want := visitors * percent / 100; in < want-3*visitors/100 || in > want+3*visitors/100 {
			t.Errorf("%d of %d visitors are in at %d percent", in, visitors, percent)
		}
	}
}

func TestTheAppsCookieGoesBeforeOurs(t *testing.T) {
	is := is.New(t)
	s := newSplit(t, 50)
	for i := range 100 {
		app, own := "app"+strconv.Itoa(i), strconv.Itoa(i)
		want, _ := s.Second(app, "", false)
		got, _ := s.Second(app, own, false)
		is.Equal(got, want)
	}
}

func TestANewVisitorStaysWhereTheCookiePutsThem(t *testing.T) {
	is := is.New(t)
	s := newSplit(t, 50)
	in, values := 0, map[string]bool{}
	for range 1000 {
		second, set := s.Second("", "", false)
		c, err := http.ParseSetCookie(set)
		is.NoErr(err)
		again, none := s.Second("", c.Value, false)
		is.Equal(again, second)
		is.Equal(none, "") // the one they have will do
		values[c.Value] = true
		if second {
			in++
		}
	}
	is.True(in > 350 && in < 650)  // about half; off by ten deviations is a bug
	is.True(len(values) > 1000-50) // hardly any two alike
	_, set := newSplit(t, 100).Second("", "", false)
	is.True(set != "") // for the percentage may shrink
}

func TestTheCookieIsForTheWholeHostAndForAYear(t *testing.T) {
	for _, secure := range []bool{false, true} {
		is := is.New(t)
		_, set := newSplit(t, 1).Second("", "", secure)
		c, err := http.ParseSetCookie(set)
		is.NoErr(err)
		is.NoErr(c.Valid())
		is.Equal(c.Name, "parachute-rollout")
		is.True(c.Value != "")
		is.Equal(c.Path, "/")
		is.Equal(c.MaxAge, 365*24*60*60)
		is.True(c.HttpOnly)
		is.Equal(c.SameSite, http.SameSiteLaxMode)
		is.Equal(c.Secure, secure)
		is.Equal(c.Domain, "")
		is.Equal(c.Unparsed, nil)
	}
}

func TestWhatIsNoSplitIsRefused(t *testing.T) {
	for _, tt := range []struct {
		percent int
		list    []string
		want    string
	}{
		{130, nil, "130 percent of the visitors: want 0 to 100"},
		{-1, []string{"ann"}, "-1 percent of the visitors: want 0 to 100"},
		{0, []string{"ann", ""}, `visitor "": want what a cookie can hold: visible ASCII but for quotes, semicolons and backslashes, and no space around it`},
		{5, []string{" ann"}, `visitor " ann": want`},
		{5, []string{"a;b"}, `visitor "a;b": want`},
		{5, []string{"a\\b"}, `visitor "a\\b": want`},
		{5, []string{"ann", "a\n"}, `visitor "a\n": want`},
		{5, []string{"\x7f"}, `visitor "\x7f": want`},
		{5, []string{"é"}, `visitor "é": want`},
		{5, []string{`"ann"`}, `visitor "\"ann\"": want`},
	} {
		is := is.New(t)
		_, err := split.New(split.Options{Percent: tt.percent, List: tt.list})
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), tt.want)) // its message
	}
}

func newSplit(tb testing.TB, percent int, list ...string) *split.Split {
	tb.Helper()
	s, err := split.New(split.Options{Percent: percent, List: list})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func BenchmarkSecond(b *testing.B) {
	s := newSplit(b, 50, "ann", "bob")
	b.ReportAllocs()
	for b.Loop() {
		s.Second("", "ABCD", true)
	}
}
