package upstream_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/upstream"
)

// hintOfHalfTheRoom is how long the Link of a 103 is that takes half of the room
// for heads.
const hintOfHalfTheRoom = 256<<10/2 - len("HTTP/1.1 100 \r\nLink: \r\n\r\n")

func TestH2CHandsInterimAnswersOver(t *testing.T) {
	for name, tt := range map[string]struct {
		hints int
		size  int // of each
		fails upstream.Reason
	}{
		"many":                      {hints: 1000, size: 4},
		"large":                     {hints: 2, size: 100 << 10},
		"too many":                  {hints: 10_000, size: 4, fails: upstream.Malformed},
		"too much":                  {hints: 3, size: 100 << 10, fails: upstream.Malformed},
		"all there is room for":     {hints: 2, size: hintOfHalfTheRoom},
		"a byte more than there is": {hints: 2, size: hintOfHalfTheRoom + 1, fails: upstream.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				link := strings.Repeat("a", tt.size)
				g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Link", link)
					for range tt.hints {
						w.WriteHeader(http.StatusEarlyHints)
					}
				})
				hints := 0
				_, err := readAll(g.Exchange(request("GET", nil, 0), "/", field.View{}, func(status int, h http.Header) {
					if status == 103 && h.Get("Link") == link {
						hints++
					}
				}))
				why, _ := reason(err)
				is.Equal(why, tt.fails)
				is.Equal(hints < tt.hints, tt.fails != 0)
			})
		})
	}
}

func TestH2CInterimAnswersThatFillTheirRoomAreNotWhyAnAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", strings.Repeat("a", hintOfHalfTheRoom))
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusEarlyHints)
			panic(http.ErrAbortHandler)
		})
		_, err := readAll(g.send(request("GET", nil, 0)))
		why, _ := reason(err)
		is.Equal(why, upstream.Broken)
	})
}

// The target goes on to send them while the exchange finds out how it has ended.
// (The race detector watches.)
func TestH2CInterimAnswersMayComeWhenNobodyIsLeft(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					w.WriteHeader(http.StatusEarlyHints)
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			_, err := g.Exchange(requestWith(ctx, "GET", nil, 0), "/", field.View{}, func(int, http.Header) { cancel() })
			why, _ := reason(err)
			is.True(why == upstream.Gone || why == upstream.Malformed)
		})
	}
}
