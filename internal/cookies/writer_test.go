package cookies_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/cookies"
)

func TestWriterIsRememberedForAWhile(t *testing.T) {
	is := is.New(t)
	now := time.UnixMilli(1_000_000)
	h := http.Header{"Set-Cookie": {"a=1"}}
	cookies.SetWriter(h, now, 1500*time.Millisecond, true)
	is.Equal(h["Set-Cookie"], []string{"a=1", "parachute-writer=1001500; Path=/; Max-Age=2; HttpOnly; Secure; SameSite=Lax"})

	sent := http.Header{"Cookie": {"parachute-writer=1001500"}}
	is.True(cookies.HasWritten(sent, now))
	is.True(cookies.HasWritten(sent, now.Add(1499*time.Millisecond)))
	is.True(!cookies.HasWritten(sent, now.Add(1500*time.Millisecond)))
}

// A browser counts whole seconds, of which none may be missing or too many.
func TestWriterIsRememberedForWholeSeconds(t *testing.T) {
	for long, want := range map[time.Duration]string{
		time.Nanosecond:               "Max-Age=1",
		time.Second:                   "Max-Age=1",
		time.Second + 1:               "Max-Age=2",
		2 * time.Second:               "Max-Age=2",
		2*time.Second + time.Second/2: "Max-Age=3",
	} {
		is := is.New(t)
		h := make(http.Header)
		cookies.SetWriter(h, time.UnixMilli(1_000_000), long, false)
		attributes := strings.Split(h["Set-Cookie"][0], "; ")
		is.True(slices.Contains(attributes, want))
		is.True(!slices.Contains(attributes, "Secure"))
	}
}

func TestWriterIsKnownByEitherCookie(t *testing.T) {
	is := is.New(t)
	now := time.Now()
	later, before := strconv.FormatInt(now.Add(time.Second).UnixMilli(), 10), "5"
	for cookie, want := range map[string]bool{
		"":                           false,
		"a=" + later:                 false,
		"kamal-writer=" + later:      true,
		"parachute-writer=" + later:  true,
		"parachute-writer=" + before: false,
		"parachute-writer=" + before + "; kamal-writer=" + later: true,
		"parachute-writer=soon":                                  true, // who knows
	} {
		is.Equal(cookies.HasWritten(http.Header{"Cookie": {cookie}}, now), want) // cookie
	}
}
