package field_test

import (
	"net/http"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
)

func TestViewGivesAwayNothingOfTheHeader(t *testing.T) {
	is := is.New(t)
	values := []string{"1", "2", "3"}
	h := http.Header{"A": values[:2:2], "B": values[2:], "C": nil}
	v := field.ViewOf(h)
	mine := v.Clone()
	is.Equal(mine, h)
	mine["A"][0], mine["D"] = "x", []string{"4"}
	is.Equal(h, http.Header{"A": {"1", "2"}, "B": {"3"}, "C": nil}) // the owner's is as it was
	values[2] = "5"
	is.Equal(mine["B"], []string{"3"}) // and so is the copy
	is.Equal(v.Get("B"), "5")          // what is seen is the owner's
}

func TestViewReadsEveryValue(t *testing.T) {
	is := is.New(t)
	v := field.ViewOf(http.Header{"Accept": {"a", "b"}, "Connection": {"close", "TE, x"}})
	got := make(http.Header)
	for name, value := range v.All() {
		got[name] = append(got[name], value)
	}
	is.Equal(got, v.Clone())
	is.Equal(v.Get("Accept"), "a")
	is.Equal(v.Get("Host"), "")
	is.True(v.HasToken("Connection", "te"))
	is.True(!v.HasToken("Accept", "te"))
	for range v.All() {
		break // nothing is yielded after that
	}
}

func TestViewOfNothingIsEmpty(t *testing.T) {
	is := is.New(t)
	var v field.View
	is.Equal(v.Get("Host"), "")
	is.Equal(v.Clone(), http.Header{})
	for range v.All() {
		t.Error("there is a field")
	}
}
