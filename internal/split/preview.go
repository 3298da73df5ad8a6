package split

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/shahnk19/parachute/internal/cookies"
	"github.com/shahnk19/parachute/internal/field"
)

// PreviewCookie is the cookie by which a visitor stays in a preview.
const PreviewCookie = "parachute-preview"

// A preview shows the second version to those who know a secret.
type preview struct {
	name   string // of the header that has the secret, canonical
	secret string
	cookie string // what PreviewCookie has in its place; nobody can tell the secret from it
}

// parsePreview returns the preview of a header, NAME: VALUE; nil: there is none.
func parsePreview(header string) (*preview, error) {
	if header == "" {
		return nil, nil
	}
	name, secret, ok := strings.Cut(header, ":")
	name, secret = strings.TrimSpace(name), strings.TrimSpace(secret)
	if !ok || secret == "" || !field.CanSend(name, secret) {
		return nil, fmt.Errorf("preview header: want one with a secret value, such as %q", "X-Preview: SECRET")
	}
	sum := sha256.Sum256([]byte(PreviewCookie + "=" + secret))
	return &preview{http.CanonicalHeaderKey(name), secret, hex.EncodeToString(sum[:16])}, nil
}

// Previews reports whether a request, whose header is h, is one of somebody who knows the
// secret of the preview: it has that, or the cookie that they were given. Then it goes to
// the second version, whatever Second says. To stay there they must be sent setCookie, as
// in Second, which is empty if they have it.
func (s *Split) Previews(h http.Header, secure bool) (second bool, setCookie string) {
	p := s.preview
	if p == nil {
		return false, ""
	}
	if value, ok := cookies.Value(h, PreviewCookie); ok && isSame(value, p.cookie) {
		return true, ""
	}
	for _, value := range h[p.name] {
		if isSame(value, p.secret) {
			setCookie = PreviewCookie + "=" + p.cookie + "; Path=/; HttpOnly; SameSite=Lax"
			if secure {
				setCookie += "; Secure"
			}
			return true, setCookie
		}
	}
	return false, ""
}

// isSame compares in a time that does not tell how much of a secret was guessed.
func isSame(given, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(secret)) == 1
}
