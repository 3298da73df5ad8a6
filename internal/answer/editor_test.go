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
