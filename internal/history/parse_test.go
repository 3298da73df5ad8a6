package history_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/history"
)

// inJSON returns what AppendJSON makes of a record.
func inJSON(tb testing.TB, r history.Past) string {
	b, err := r.AppendJSON(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func TestRecordIsReadAsItWasWritten(t *testing.T) {
	is := is.New(t)
	began := time.Date(2026, 11, 27, 10, 0, 0, 5000, time.UTC)
	for _, r := range []history.Past{
		{Service: "web", Generation: 18446744073709551615, Targets: []string{"a:1"}, Switched: began},
		{Service: "web", Generation: 3, Release: "v1", By: "ann", Restores: 1, Targets: []string{"a:1", "b:1"}, Switched: began, Ended: began.Add(time.Hour), End: history.TakenBack, Figures: history.Figures{Served: time.Hour, Requests: 5, Errors: 1, ErrorRate: 0.2, P50: 1, P99: 2}},
		{Service: "web", Targets: []string{}, Figures: history.Figures{ErrorRate: 1e-9}},
	} {
		text := inJSON(t, r)
		for _, behind := range []string{"", ",", "]\n", text} {
			got := history.Past{Service: "of before", End: history.Removed}
			rest, ok := got.CutJSON(text + behind)
			is.True(ok)
			is.Equal(rest, behind)
			is.Equal(got, r)
		}
		for i := range text {
			_, ok := new(history.Past).CutJSON(text[:i])
			is.True(!ok) // it is cut off
		}
	}
}

func TestRecordInAnotherFormIsLeftToPackageJSON(t *testing.T) {
	figures := `"figures":{"requests":0,"errors":0,"error_rate":0,"served":"0s","p50":"0s","p99":"0s"}}`
	for name, text := range map[string]string{
		"no targets":          inJSON(t, history.Past{Service: "web"}),
		"other signs":         inJSON(t, history.Past{Service: "web", Release: "<v1>", Targets: []string{}}),
		"a quote":             inJSON(t, history.Past{Service: "web", Targets: []string{`"`}}),
		"letters of no ASCII": inJSON(t, history.Past{Service: "web", By: "Änne", Targets: []string{}}),
		"a deployment":        inJSON(t, history.Past{Service: "web", Targets: []string{}, Deployment: json.RawMessage("{}")}),
		"blanks":              `{ "service":"web","generation":7,"targets":[],` + figures,
		"a field more":        `{"mood":"good","service":"web","generation":7,"targets":[],` + figures,
		"a zero in front":     `{"service":"web","generation":07,"targets":[],` + figures,
		"a number below 0":    `{"service":"web","generation":-7,"targets":[],` + figures,
		"a time that is none": `{"service":"web","generation":7,"targets":[],"switched":"now",` + figures,
		"no list":             `{"service":"web","generation":7,"targets":"a",` + figures,
		"a comma too much":    `{"service":"web","generation":7,"targets":["a",],` + figures,
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := new(history.Past).CutJSON(text)
			is.New(t).True(!ok)
		})
	}
}

func FuzzCutJSON(f *testing.F) {
	f.Add(inJSON(f, history.Past{Service: "web", Generation: 3, Release: "v1", By: "ann", Restores: 1, Targets: []string{"a:1", "b:1"}, Switched: time.Unix(5, 5).UTC(), Ended: time.Unix(7, 0), End: history.TakenBack, Figures: history.Figures{Served: time.Hour, Requests: 5, Errors: 1, ErrorRate: 0.2, P50: 1, P99: 2}}))
	f.Add(`{"service":"web","generation":7,"targets":["a:1"],"figures":{"requests":0,"errors":0,"error_rate":1e-07,"served":"","p50":"0s","p99":"0s"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var got, want history.Past
		rest, ok := got.CutJSON(text)
		if !ok {
			return
		}
		text = text[:len(text)-len(rest)]
		if err := json.Unmarshal([]byte(" "+text), (*plain)(&want)); err != nil {
			t.Fatalf("%q is read: want %v", text, err)
		}
		if inJSON(t, got) != inJSON(t, want) {
			t.Fatalf("%q is read as %v: want %v", text, got, want)
		}
	})
}
