package forward

import (
	"math/rand/v2"
	"net/http"
)

// RequestID returns the X-Request-ID in h if it is valid (visible ASCII, at most 128
// characters), or a new random one.
func RequestID(h http.Header) string {
	if ids := h["X-Request-Id"]; len(ids) == 1 && isRequestID(ids[0]) {
		return ids[0]
	}
	const digits = "0123456789abcdef"
	var id [32]byte
	for half := range 2 {
		n := rand.Uint64()
		for i := range 16 {
			id[16*half+i] = digits[n>>(4*i)&15]
		}
	}
	return string(id[:])
}

func isRequestID(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return id != "" && len(id) <= 128
}
