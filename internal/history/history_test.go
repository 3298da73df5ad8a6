package history_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/histogram"
	"github.com/shahnk19/parachute/internal/history"
)

func TestFiguresTravelAsJSON(t *testing.T) {
	is := is.New(t)
	f := history.Figures{Served: 90 * time.Second, Requests: 200, Errors: 3, ErrorRate: 0.015, P50: 1500 * time.Microsecond, P99: time.Second}
	text, err := json.Marshal(f)
	is.NoErr(err)
	is.Equal(string(text), `{"requests":200,"errors":3,"error_rate":0.015,"served":"1m30s","p50":"1.5ms","p99":"1s"}`)
	var got history.Figures
	is.NoErr(json.Unmarshal(text, &got))
	is.Equal(got, f)
	is.NoErr(json.Unmarshal([]byte(`{"requests":1,"of a newer version":7}`), &got))
	is.Equal(got, history.Figures{Requests: 1})
	is.True(json.Unmarshal([]byte(`{"p50":"soon"}`), &got) != nil)
}

// A plain record is one that package json puts into JSON.
type plain history.Past

func TestRecordIsInJSONAsPackageJSONHasIt(t *testing.T) {
	began := time.Date(2026, 11, 27, 10, 0, 0, 5000, time.FixedZone("", 3600))
	for name, r := range map[string]history.Past{
		"nothing":      {},
		"no targets":   {Service: "web", Targets: []string{}},
		"all":          {Service: "web", Generation: 3, Release: "v1", By: "ann", Restores: 1, Targets: []string{"a:1", "b:1"}, Switched: began, Ended: began.Add(time.Hour), End: history.TakenBack, Figures: history.Figures{Served: time.Hour, Requests: 5, Errors: 1, ErrorRate: 0.2, P50: 1, P99: 2}, Deployment: json.RawMessage(`{"service": "web", "mirror":[1, "<"]}`)},
		"other signs":  {Service: `a"b\c`, Release: "<v1> & \u2028", By: "Änne\t\x00\x7f", End: "it's"},
		"small shares": {Figures: history.Figures{ErrorRate: 1e-9}},
	} {
		is := is.New(t)
		want, err := json.Marshal(plain(r))
		is.NoErr(err)
		got, err := json.Marshal(r)
		is.NoErr(err)
		is.Equal(string(got), string(want))
		alone, err := r.AppendJSON([]byte("["))
		is.NoErr(err)
		if r.Deployment == nil { // else json.Marshal leaves blanks out of it
			is.Equal(string(alone), "["+string(want))
		}
		var back history.Past
		is.NoErr(json.Unmarshal(alone[1:], &back))
		is.Equal(back.Figures, r.Figures)
		is.Equal(back.By, r.By)
		t.Log(name)
	}
	_, err := history.Past{Deployment: json.RawMessage("{")}.AppendJSON(nil)
	is := is.New(t)
	is.True(err != nil)
	_, err = json.Marshal(history.Past{Figures: history.Figures{ErrorRate: math.NaN()}})
	is.True(err != nil)
}

func TestFiguresOfAnotherFormAreUnderstood(t *testing.T) {
	is := is.New(t)
	want := history.Figures{Requests: 200, Errors: 3, ErrorRate: 0.015, Served: time.Minute, P50: time.Millisecond, P99: time.Second}
	for _, text := range []string{
		`{"requests":200,"errors":3,"error_rate":0.015,"served":"1m0s","p50":"1ms","p99":"1s"}`,
		`{ "requests": 200, "errors": 3, "error_rate": 0.015, "served": "1m0s", "p50": "1ms", "p99": "1s" }`,
		`{"p99":"1s","p50":"1ms","served":"60s","error_rate":1.5e-2,"errors":3,"requests":200}`,
		`{"requests":200,"errors":3,"error_rate":0.015,"served":"1m0s","p50":"1ms","p99":"1s","p999":"2s"}`,
	} {
		var got history.Figures
		is.NoErr(json.Unmarshal([]byte(text), &got))
		is.Equal(got, want)
	}
	for _, text := range []string{`{"requests":-1,"errors":3,"error_rate":0.015,"served":"1m0s","p50":"1ms","p99":"1s"}`, `{"requests":1,"errors":3,"error_rate":0.015,"served":"soon","p50":"1ms","p99":"1s"}`, `[]`} {
		is.True(json.Unmarshal([]byte(text), new(history.Figures)) != nil)
	}
}

func TestHistoryOfThoseThatWereRemovedIsBounded(t *testing.T) {
	is := is.New(t)
	var removed history.Removals
	began := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	for i := range 101 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		before := len(removed)
		next := removed.WithService(name, []history.Past{{Service: name, Ended: began.Add(time.Duration(i) * time.Minute)}})
		is.Equal(len(removed), before) // readers may have it
		if i < 100 {
			is.Equal(removed.Missing(next), nil)
		} else {
			is.Equal(removed.Missing(next), []string{"aa"}) // the first one
		}
		is.Equal(next.Missing(removed), []string{name})
		removed = next
	}
	is.Equal(len(removed), 100)
}

func TestServiceThatIsThereAgainIsNotRemoved(t *testing.T) {
	is := is.New(t)
	removed := history.Removals(nil).WithService("a", []history.Past{{Service: "a"}}).WithService("b", []history.Past{{Service: "b"}})
	is.Equal(removed.WithoutService("a"), history.Removals{"b": {{Service: "b"}}})
	is.Equal(len(removed), 2) // readers may have it
	is.Equal(removed.WithoutService("c"), removed)
	is.Equal(history.Removals(nil).WithoutService("a"), history.Removals(nil))
	is.Equal(removed.Missing(nil), []string{"a", "b"})
}

func TestRollbackChoosesWhatItNames(t *testing.T) {
	ended := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	past := []history.Past{
		{Generation: 9, Release: "v4", Restores: 5},
		{Generation: 8, Release: "v5", Ended: ended, End: history.TakenBack},
		{Generation: 5, Release: "v4", Ended: ended, End: history.Replaced},
		{Generation: 4, Release: "7", Ended: ended, End: history.Replaced},
		{Generation: 3, Ended: ended, End: history.Replaced},
		{Generation: 2, Release: "4", Ended: ended, End: history.Replaced},
	}
	tests := []struct {
		name string
		past []history.Past
		to   string
		want uint64
		err  string
	}{
		{"the latest that was neither taken back nor brought back", past, "", 4, ""},
		{"a generation, also one that was taken back", past, "8", 8, ""},
		{"a generation before a release of that name", past, "4", 4, ""},
		{"a release that reads as a number", past, "7", 4, ""},
		{"the release of what serves, if it was there before", past, "v4", 5, ""},
		{"of a removed service, what it had last", past[2:], "", 5, ""},
		{"what serves, by its generation", past, "9", 0, "9 is what serves"},
		{"what serves, by its release", []history.Past{{Generation: 1, Release: "v1"}}, "v1", 0, "v1 is what serves"},
		{"the latest where there is none", past[:2], "", 0, "nothing was deployed before generation 9, which serves"},
		{"what is not there", past[:3], "v9", 0, "v9 is neither a generation nor a release in the history, which has 8 v5, 5 v4"},
		{"a number that is not there", past[3:5], "12", 0, "12 is neither a generation nor a release in the history, which has 4 7, 3"},
		{"what cannot be there", past[:1], "v3", 0, "v3 is not in the history: nothing was deployed before generation 9, which serves"},
		{"where nothing is known", nil, "v3", 0, history.ErrEmpty.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			got, err := history.Choose(tt.past, tt.to)
			is.Equal(got.Generation, tt.want)
			if tt.err == "" {
				is.NoErr(err)
				return
			}
			is.True(err != nil)
			is.Equal(err.Error(), tt.err)
		})
	}
}

func TestFiguresHaveWhatWasCountedBeforeAndSince(t *testing.T) {
	is := is.New(t)
	before := history.Figures{Requests: 2, Errors: 1, ErrorRate: 0.5, P50: time.Hour, P99: time.Hour}
	is.Equal(before.Plus(nil), before) // nothing was counted since
	count := new(histogram.Total)
	count.Observe(10*time.Millisecond, false)
	count.Observe(10*time.Millisecond, true)
	f := before.Plus([]*histogram.Total{count})
	is.Equal(f.Requests, uint64(4))
	is.Equal(f.Errors, uint64(2))
	is.Equal(f.ErrorRate, 0.5)
	is.True(f.P50 < time.Second && f.P99 < time.Second) // of those since
}

func TestRecordTellsHowLongItHasServed(t *testing.T) {
	is := is.New(t)
	switched := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	count := new(histogram.Total)
	count.Observe(time.Millisecond, false)
	r := history.Past{Generation: 1, Switched: switched, Deployment: json.RawMessage(`{}`), Counted: []*histogram.Total{count}}

	told := r.Told(switched.Add(time.Minute + 400*time.Microsecond))
	is.Equal(told.Figures.Served, time.Minute)
	is.Equal(told.Figures.Requests, uint64(1))
	is.True(told.Deployment == nil && told.Counted == nil)                        // it may have secrets
	is.Equal(r.Told(switched.Add(-time.Minute)).Figures.Served, time.Duration(0)) // the clock was set back
	is.Equal(history.Past{}.Told(switched).Figures.Served, time.Duration(0))      // nobody knows

	ended := r.EndedAs(history.Replaced, switched.Add(time.Hour))
	is.Equal(ended.End, history.Replaced)
	is.Equal(ended.Ended, switched.Add(time.Hour))
	is.Equal(ended.Told(switched.Add(2*time.Hour)).Figures.Served, time.Hour) // and no more since
	count.Observe(time.Millisecond, false)
	is.Equal(ended.Told(switched).Figures.Requests, uint64(2)) // those of its drain as well

	text, err := json.Marshal(ended)
	is.NoErr(err)
	var kept history.Past
	is.NoErr(json.Unmarshal(text, &kept))
	is.Equal(kept.Figures.Requests, uint64(2))
	is.Equal(string(kept.Deployment), "{}")
}

func TestRestoreDecodesWhatWasChosen(t *testing.T) {
	is := is.New(t)
	past := []history.Past{{Generation: 3}, {Generation: 2, Release: "b", Ended: time.Unix(2, 0), Deployment: []byte(`{"x":2}`)}, {Generation: 1, Ended: time.Unix(1, 0), Deployment: []byte("[]")}}
	var d struct{ X int }
	r, err := history.Restore(past, "b", &d)
	is.NoErr(err)
	is.Equal(r.Generation, uint64(2))
	is.Equal(d.X, 2)

	_, err = history.Restore(past, "1", &d)
	is.True(strings.HasPrefix(err.Error(), "generation 1 cannot be deployed again: json: cannot unmarshal array"))
	_, err = history.Restore(nil, "", &d)
	is.Equal(err, history.ErrEmpty)
}
