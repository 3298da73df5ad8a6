package forward

import (
	"math/rand/v2"
	"net/http"
)

// RequestID returns the X-Request-ID in h if it is valid (visible ASCII, at most 128
// characters), or a new one, which is a random UUID (RFC 9562, section 5.4). Nothing
// may rely on it being secret, for a client can choose its own; so it is made of what
// the runtime has at hand, which is ChaCha8 with a seed from the system.
func RequestID(h http.Header) string {
	if ids := h["X-Request-Id"]; len(ids) == 1 && isRequestID(ids[0]) {
		return ids[0]
	}
	high, low := rand.Uint64(), rand.Uint64()
	high = high&^0xf000 | 0x4000 // version 4
	low = low<<2>>2 | 1<<63      // the variant of that RFC
	var id [36]byte
	for i := range id {
		switch i {
		case 8, 13, 18, 23:
			id[i] = '-'
		default:
			id[i] = "0123456789abcdef"[high>>60]
			high, low = high<<4|low>>60, low<<4
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
