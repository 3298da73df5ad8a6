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
	var removed map[string][]history.Record
	began := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	for i := range 101 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		before := len(removed)
		next, forgotten := history.Remove(removed, name, []history.Record{{Service: name, Ended: began.Add(time.Duration(i) * time.Minute)}})
		is.Equal(len(removed), before) // readers may have it
		if i < 100 {
			is.Equal(len(forgotten), 0)
		} else {
			is.Equal(forgotten, []string{"aa"}) // the first one
		}
		removed = next
	}
	is.Equal(len(removed), 100)
}
