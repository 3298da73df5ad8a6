package cookies

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Cookies that tell until when their client has just written something, in
// milliseconds since 1970.
const (
	writerCookie      = "parachute-writer"
	kamalWriterCookie = "kamal-writer"
)

// SetWriter adds to an answer's header that the client has just written
// something, which HasWritten says for that long. secure has the cookie sent
// over TLS alone.
func SetWriter(h http.Header, now time.Time, long time.Duration, secure bool) {
	cookie := http.Cookie{
		Name:     writerCookie,
		Value:    strconv.FormatInt(now.Add(long).UnixMilli(), 10),
		Path:     "/",
		MaxAge:   int((long + time.Second - 1) / time.Second),
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
		Secure:   secure,
	}
	h["Set-Cookie"] = append(slices.Clip(h["Set-Cookie"]), cookie.String())
}

// HasWritten reports whether the client that sent h has just written something:
// in doubt, it has.
func HasWritten(h http.Header, now time.Time) bool {
	for _, name := range []string{writerCookie, kamalWriterCookie} {
		value, ok := Value(h, name)
		if !ok {
			continue
		}
		until, err := strconv.ParseInt(value, 10, 64)
		if err != nil || now.Before(time.UnixMilli(until)) {
			return true
		}
	}
	return false
}
