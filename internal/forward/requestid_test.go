package forward_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
)

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestRequestIDIsKeptIfItIsOneAndMadeIfNot(t *testing.T) {
	is := is.New(t)
	for _, id := range []string{"a", "7c8b4e62-1f", "!~", strings.Repeat("x", 128)} {
		is.Equal(forward.RequestID(http.Header{"X-Request-Id": {id}}), id)
	}
	seen := make(map[string]bool)
	for _, ids := range [][]string{nil, {}, {""}, {"a b"}, {"a\n"}, {"é"}, {strings.Repeat("x", 129)}, {"a", "b"}} {
		id := forward.RequestID(http.Header{"X-Request-Id": ids})
		is.True(uuid4.MatchString(id))
		is.True(!seen[id]) // each is another
		seen[id] = true
	}
}
