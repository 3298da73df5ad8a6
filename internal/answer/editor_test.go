package answer_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/answer"
)

func TestEditorAppliesTheRulesAndTakesTheBody(t *testing.T) {
	is := is.New(t)
	errFull, errBroken := errors.New("full"), errors.New("broken")
	rules := &answer.Rules{
		HSTS: []string{"max-age=1"},
		Take: func(res *http.Response, method string) (full, err error) {
			is.Equal(method, "POST")
			is.Equal(res.Header.Get("Strict-Transport-Security"), "max-age=1") // it comes after the header
			res.Body = http.NoBody
			return errFull, errBroken
		},
	}
	is.True(!(&answer.Rules{Take: rules.Take}).IsZero())
	e := &answer.Editor{Rules: rules, Request: answer.Request{Method: "POST", IsSecure: true}}
	res := &http.Response{Header: make(http.Header)}
	is.Equal(e.Edit(res), errBroken)
	is.Equal(e.Full, errFull)
	is.True(res.Body == http.NoBody)
}

func TestEditorWithoutTakeLeavesTheBody(t *testing.T) {
	is := is.New(t)
	e := &answer.Editor{Rules: &answer.Rules{HSTS: []string{"max-age=1"}}}
	res := &http.Response{Header: make(http.Header)}
	is.NoErr(e.Edit(res))
	is.Equal(e.Full, nil)
	is.True(res.Body == nil)
	is.Equal(len(res.Header), 0) // it came over plain HTTP
}

func TestAnswerForManyClientsMakesNobodyKnown(t *testing.T) {
	for _, tt := range []struct {
		status  int
		control string
		want    bool
	}{
		{200, "", false},
		{200, "private, max-age=60", false},
		{200, "max-age=60", false},
		{200, "public", true},
		{200, "max-age=31536000, Immutable", true},
		{404, "PUBLIC, max-age=60", true},
		{200, "publicity", false},
		{304, "", true},
		{304, "private", true},
	} {
		is := is.New(t)
		forgotten := 0
		e := &answer.Editor{Rules: new(answer.Rules), Forget: func() { forgotten++ }}
		res := &http.Response{StatusCode: tt.status, Header: http.Header{"Cache-Control": {tt.control}}}
		is.NoErr(e.Edit(res))
		is.Equal(forgotten == 1, tt.want) // tt.control
	}
}

// What caches see is the header as the operator's rules leave it.
func TestAnswerIsForManyIfTheRulesMakeItSo(t *testing.T) {
	is := is.New(t)
	forgotten := false
	rules := &answer.Rules{Headers: func(h http.Header) { h["Cache-Control"] = []string{"public"} }}
	e := &answer.Editor{Rules: rules, Forget: func() { forgotten = true }}
	is.NoErr(e.Edit(&http.Response{StatusCode: 200, Header: make(http.Header)}))
	is.True(forgotten)
}
