package forward

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
)

// RequestID returns the X-Request-ID in h if it is valid (visible ASCII, at most 128
// characters), or a new one, which is a random UUID (RFC 9562, section 5.4).
func RequestID(h http.Header) string {
	if ids := h["X-Request-Id"]; len(ids) == 1 && isRequestID(ids[0]) {
		return ids[0]
	}
	var random [16]byte
	rand.Read(random[:])
	random[6] = random[6]&0x0f | 0x40 // version 4
	random[8] = random[8]&0x3f | 0x80 // the variant of that RFC
	var id [36]byte
	hex.Encode(id[:8], random[:4])
	hex.Encode(id[9:13], random[4:6])
	hex.Encode(id[14:18], random[6:8])
	hex.Encode(id[19:23], random[8:10])
	hex.Encode(id[24:], random[10:])
	for _, i := range [...]int{8, 13, 18, 23} {
		id[i] = '-'
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
