package forward_test

import (
	"encoding/hex"
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

// Of the 122 bits that are random, each is 0 in some and 1 in others.
func TestBitsOfRequestIDsVary(t *testing.T) {
	is := is.New(t)
	var zeros, ones [16]byte
	for range 200 {
		b, err := hex.DecodeString(strings.ReplaceAll(forward.RequestID(nil), "-", ""))
		is.NoErr(err)
		for i := range b {
			zeros[i] |= ^b[i]
			ones[i] |= b[i]
		}
	}
	for i := range zeros {
		same := byte(0)
		switch i {
		case 6:
			same = 0xf0 // the version
		case 8:
			same = 0xc0 // the variant
		}
		is.Equal(zeros[i]&ones[i], ^same) // byte i
	}
}
