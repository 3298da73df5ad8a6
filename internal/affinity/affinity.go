// Package affinity has each visitor stay with the one of several candidates that has
// answered them first, by a value that they send with every request.
//
// The value is an identifier, followed by one or two tokens. Each token stands for a
// candidate; only who has the key can tell for which. The identifier is one of a
// million, too few to tell every visitor from all others. It decides where the visitor
// goes when a candidate is gone, so that all of their requests, even those that are
// under way at once, go to the same one.
package affinity

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
)

// The lengths of what a value consists of.
const (
	idSize    = 4
	tokenSize = 8
)

// NewKey returns a random key for Token.
func NewKey() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key)
	return key
}

// Token returns what stands for a service's candidate in values. The same key makes
// the same tokens in every process.
func Token(key []byte, service, address string) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%q %q", service, address)
	return base32.StdEncoding.EncodeToString(mac.Sum(nil))[:tokenSize]
}

// A Visitor is what a request tells of who sent it. The zero Visitor has not been here
// before.
type Visitor struct {
	id     string
	tokens string // each with a dot before it
}

// Note notes a value that came with the visitor's request. It may be called again, for
// the candidates of others who have sent the visitor a value. What cannot be a value
// counts for nothing.
func (v *Visitor) Note(value string) {
	if !isValue(value) {
		return
	}
	if v.id == "" {
		v.id = value[:idSize]
	}
	if v.tokens == "" {
		v.tokens = value[idSize:]
	} else {
		v.tokens += value[idSize:]
	}
}

// Value returns the value by which the visitor stays with the candidate that has the
// token, and with the one that has the second token; if that is "", there is none.
func (v Visitor) Value(token, second string) string {
	id := v.id
	if id == "" {
		id = rand.Text()[:idSize]
	}
	if second != "" {
		second = "." + second
	}
	return id + "." + token + second
}

// isValue reports whether s has the form of a value.
func isValue(s string) bool {
	if len(s) != idSize+1+tokenSize && len(s) != idSize+2*(1+tokenSize) {
		return false
	}
	for i := range len(s) {
		isDot := i >= idSize && (i-idSize)%(1+tokenSize) == 0
		isLetter := 'A' <= s[i] && s[i] <= 'Z' || '2' <= s[i] && s[i] <= '7' // as in base32
		if isDot != (s[i] == '.') || !isDot && !isLetter {
			return false
		}
	}
	return true
}

// IsKnown reports whether the visitor has been here before.
func (v Visitor) IsKnown() bool { return v.id != "" }

// Has reports whether the visitor stays with the candidate that has the token.
func (v Visitor) Has(token string) bool {
	for rest := v.tokens; rest != ""; rest = rest[1+tokenSize:] {
		if rest[1:1+tokenSize] == token {
			return true
		}
	}
	return false
}

// A Candidate may be picked for a visitor.
type Candidate interface{ Token() string }

// Pick returns the candidate for a visitor who is known, and false if none suits. It
// is the one that the visitor stays with, or if that does not suit, the same one for
// every request of the visitor as long as the same ones suit.
func Pick[C Candidate](v Visitor, candidates []C, suits func(C) bool) (picked C, ok bool) {
	for _, c := range candidates {
		if v.Has(c.Token()) && suits(c) {
			return c, true
		}
	}
	// That is rendezvous hashing: each visitor has an order of their own of all
	// candidates, and goes to the first one that suits.
	var first [sha256.Size]byte
	for _, c := range candidates {
		if !suits(c) {
			continue
		}
		if rank := v.rank(c.Token()); !ok || bytes.Compare(rank[:], first[:]) < 0 {
			picked, ok, first = c, true, rank
		}
	}
	return picked, ok
}

func (v Visitor) rank(token string) [sha256.Size]byte {
	var short [idSize + tokenSize]byte // lest it be allocated
	return sha256.Sum256(append(append(short[:0], v.id...), token...))
}
