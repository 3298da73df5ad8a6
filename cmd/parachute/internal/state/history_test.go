package state_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
)

// remembered returns s with a history.
func remembered(s parachute.Status) parachute.Status {
	began := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	s.Switched = began.Add(time.Hour)
	s.Figures = &parachute.Figures{Requests: 12, Errors: 3, ErrorRate: 0.25, P50: time.Millisecond, P99: time.Second}
	s.History = []parachute.Past{{
		Service: s.Service, Generation: s.Generation - 1, Release: "v1", By: "ann", Targets: []string{"10.0.0.1:3000"},
		Switched: began, Ended: began.Add(time.Hour), End: parachute.EndReplaced,
		Figures:    parachute.Figures{Served: time.Hour, Requests: 7},
		Deployment: json.RawMessage(`{"service":"web","targets":["10.0.0.1:3000"],"mirror":"of a newer version"}`),
	}}
	return s
}

func TestHistoryIsSavedApartFromWhatServes(t *testing.T) {
	for _, isLarge := range []bool{false, true} {
		is := is.New(t)
		dir := t.TempDir()
		p := &proxy{open(t, dir), make(map[string]parachute.Status)}
		is.NoErr(p.change([]parachute.Status{deployed("api", 1)}))
		if isLarge {
			is.NoErr(p.change([]parachute.Status{largeService()}))
		}
		gone := remembered(deployed("gone", 3))
		gone = parachute.Status{Service: "gone", State: parachute.StateRemoved, History: gone.History}
		is.NoErr(p.change([]parachute.Status{remembered(deployed("web", 2)), remembered(deployed("gone", 3)), remembered(deployed("past", 3))}))
		is.NoErr(p.change([]parachute.Status{gone}, "gone")) // its history is kept
		is.NoErr(p.change(nil, "past"))                      // this one's is not
		is.NoErr(p.store.Close())
		got, warnings := loadSorted(t, dir)
		is.Equal(warnings, "")
		is.Equal(got, p.all())

		p.store = open(t, dir)
		_, _, err := p.store.Load()
		is.NoErr(err)
		is.NoErr(p.change(nil)) // everything, in one file
		is.NoErr(p.store.Close())
		got, warnings = loadSorted(t, dir)
		is.Equal(warnings, "")
		is.Equal(got, p.all())
		var file struct {
			Version  int                          `json:"version"`
			Services []map[string]json.RawMessage `json:"services"`
		}
		text := read(t, filepath.Join(dir, current))
		is.NoErr(json.Unmarshal([]byte(text), &file))
		is.Equal(file.Version, 1)
		for _, service := range file.Services { // what an older version refuses to see there
			for _, field := range []string{"history", "figures", "switched"} {
				is.True(service[field] == nil)
			}
		}
	}
}

func TestHistoryThatCannotBeReadCostsNoService(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	p := &proxy{open(t, dir), make(map[string]parachute.Status)}
	is.NoErr(p.change([]parachute.Status{remembered(deployed("web", 2))}))
	is.NoErr(p.store.Close())
	path := filepath.Join(dir, current)
	write(t, path, strings.Replace(read(t, path), `"generation": 1`, `"generation": "x"`, 1))
	got, warnings := load(t, dir)
	is.Equal(got, []parachute.Status{deployed("web", 2)})
	is.True(strings.Contains(warnings, "the history of service web cannot be read"))
	is.Equal(len(asideOf(t, dir, current)), 1) // it is kept
}
