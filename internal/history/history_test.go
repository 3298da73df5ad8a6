package history_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/matryer/is"

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

func TestHistoryOfThoseThatWereRemovedIsBounded(t *testing.T) {
	is := is.New(t)
	var removed history.Removals
	began := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	for i := range 101 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		before := len(removed)
		next := removed.With(name, []history.Record{{Service: name, Ended: began.Add(time.Duration(i) * time.Minute)}})
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
	removed := history.Removals(nil).With("a", []history.Record{{Service: "a"}}).With("b", []history.Record{{Service: "b"}})
	is.Equal(removed.Without("a"), history.Removals{"b": {{Service: "b"}}})
	is.Equal(len(removed), 2) // readers may have it
	is.Equal(removed.Without("c"), removed)
	is.Equal(history.Removals(nil).Without("a"), history.Removals(nil))
	is.Equal(removed.Missing(nil), []string{"a", "b"})
}
