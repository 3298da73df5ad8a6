package cookies

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The names of cookies whose value is until when the client counts as one that has just
// written something, in milliseconds since 1970.
const (
	writerCookie      = "parachute-writer"
	kamalWriterCookie = "kamal-writer"
)

// SetWriter adds a cookie to an answer's header. By this cookie, HasWritten reports for
// the duration long that the client has just written something. If secure is true,
// browsers send it over TLS only.
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

// HasWritten reports whether the client that sent h has just written something. A
// cookie that cannot be parsed means that it has.
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
