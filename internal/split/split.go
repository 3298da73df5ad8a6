// Package split decides which visitors of a service go to its second version.
package split

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"strings"

	"github.com/shahnk19/parachute/internal/cookies"
)

// The cookies that a visitor is known by for Second. Either may be the app's; only the
// first is ever set here.
const (
	Cookie      = "parachute-rollout"
	KamalCookie = "kamal-rollout"
)

// A Split decides which visitors go to the second version. It never changes, and any
// number of goroutines may use it.
type Split struct {
	percent    uint64
	list       map[string]bool
	cookieOnly bool
	preview    *preview // nil: there is none
}

// Options say which visitors go to the second version. The zero value is nobody.
type Options struct {
	Percent    int      // of the visitors
	List       []string // the values of the cookies of those who go there in any case
	CookieOnly bool     // visitors without a cookie stay with the first version
	Preview    string   // NAME: VALUE of a header whose requests go there, and with them their visitors; empty: there is none
}

// Over returns o with what it leaves open as in other: everything but a preview, if it
// says nothing of other visitors, and the preview, if it names none.
func (o Options) Over(other Options) Options {
	preview := cmp.Or(o.Preview, other.Preview)
	if o.Percent == 0 && len(o.List) == 0 {
		o = other
	}
	o.Preview = preview
	return o
}

// New returns the Split that o describes, or nil if nobody goes to the second version. An
// error says what would be right.
func New(o Options) (*Split, error) {
	if o.Percent < 0 || o.Percent > 100 {
		return nil, fmt.Errorf("%d percent of the visitors: want 0 to 100", o.Percent)
	}
	shown, err := parsePreview(o.Preview)
	if err != nil {
		return nil, err
	}
	s := &Split{percent: uint64(o.Percent), list: make(map[string]bool, len(o.List)), cookieOnly: o.CookieOnly, preview: shown}
	for _, value := range o.List {
		if value == "" || value != strings.TrimSpace(value) || !cookies.IsValue(value) {
			return nil, fmt.Errorf("visitor %q: want what a cookie can hold: visible ASCII but for quotes, semicolons and backslashes, and no space around it", value)
		}
		s.list[value] = true
	}
	if o.Percent == 0 && len(o.List) == 0 && o.Preview == "" {
		return nil, nil
	}
	return s, nil
}

// Choose reports whether the visitor whose request has the header h goes to the second
// version: by [Split.Previews], or else by [Split.Second]. setCookie is as for these.
func (s *Split) Choose(h http.Header, secure bool) (second bool, setCookie string) {
	if second, setCookie = s.Previews(h, secure); second {
		return second, setCookie
	}
	kamal, _ := cookies.Value(h, KamalCookie)
	own, _ := cookies.Value(h, Cookie)
	return s.Second(kamal, own, secure)
}

// Second reports whether a visitor goes to the second version. kamal and own are the
// values of KamalCookie and Cookie in the request; an empty value is no cookie. A
// visitor with both is known by kamal, which is always the app's choice, while own
// may have been set here before the app knew the visitor.
//
// A visitor with a value of the list goes to the second version. Of all others, the
// percentage does. The value alone decides that, so the answer is the same in every
// process, and a visitor of the second version stays there when the percentage grows.
// A value of KamalCookie is on the side where kamal-proxy has it.
//
// A visitor without a cookie gets a random value, unless those stay with the first
// version. To keep it, they must be sent setCookie, the value of a Set-Cookie field,
// which is empty in all other cases. If secure is set, the request came over TLS, and
// the cookie is for TLS only.
func (s *Split) Second(kamal, own string, secure bool) (second bool, setCookie string) {
	switch {
	case s.list[kamal] || s.list[own]:
		return true, ""
	case s.percent == 0:
		return false, ""
	case kamal != "":
		return s.hasInKamal(kamal), ""
	case own == "" && s.cookieOnly:
		return false, ""
	case own == "":
		own = fresh()
		setCookie = Cookie + "=" + own + "; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
		if secure {
			setCookie += "; Secure"
		}
	}
	return bucket(own) < s.percent, setCookie
}

// hasInKamal reports whether kamal-proxy sends a value to the second version: its
// FNV-1a hash of 32 bits is at most the percentage of the largest.
func (s *Split) hasInKamal(value string) bool {
	var short [128]byte // lest it be allocated
	h := fnv.New32a()
	h.Write(append(short[:0], value...))
	return 100*uint64(h.Sum32()) <= s.percent*math.MaxUint32
}

// fresh returns a random value. A million of them are enough for any
// percentage, and too few to tell every visitor from all others.
func fresh() string { return rand.Text()[:4] }

// bucket returns a number below 100, which is the first 8 bytes of the SHA-256
// of value modulo 100. Each is equally likely however much alike values are,
// which does not hold for the simpler hashes.
func bucket(value string) uint64 {
	var short [128]byte // lest it be allocated
	sum := sha256.Sum256(append(short[:0], value...))
	return binary.BigEndian.Uint64(sum[:]) % 100
}
