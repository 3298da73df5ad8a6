package grpc

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// timeoutDigits is how many digits a timeout has at most.
const timeoutDigits = 8

// Timeout returns how long the client of a call with the header h waits for its end,
// from when it sent that. It reports false if h does not say so, or not as gRPC has it.
func Timeout(h http.Header) (time.Duration, bool) {
	s := h.Get("Grpc-Timeout")
	if len(s) < 2 || len(s) > timeoutDigits+1 {
		return 0, false
	}
	number, unit := s[:len(s)-1], unitOf(s[len(s)-1])
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || unit == 0 {
		return 0, false
	}
	if time.Duration(n) > math.MaxInt64/unit {
		return math.MaxInt64, true
	}
	return time.Duration(n) * unit, true
}

// unitOf returns what a timeout that ends with c is counted in; 0: there is none such.
func unitOf(c byte) time.Duration {
	switch c {
	case 'H':
		return time.Hour
	case 'M':
		return time.Minute
	case 'S':
		return time.Second
	case 'm':
		return time.Millisecond
	case 'u':
		return time.Microsecond
	case 'n':
		return time.Nanosecond
	}
	return 0
}
