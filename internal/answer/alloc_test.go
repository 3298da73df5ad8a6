//go:build !race

package answer_test

import (
	"net/http"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/answer"
)

func TestHSTSAllocatesNothing(t *testing.T) {
	is := is.New(t)
	r := answer.Rules{HSTS: []string{"max-age=1"}}
	h := http.Header{"Strict-Transport-Security": nil}
	to := &answer.Request{Method: "GET", IsSecure: true}
	is.Equal(testing.AllocsPerRun(100, func() { r.Apply(h, to) }), 0.0)
}
