package cookies

import (
	"net/http"
	"slices"
)

// Add has the header of an answer set cookies after those that it sets already, each by
// the value of a Set-Cookie field. It changes no slice that the header has. forget takes
// back this, and all that was added later.
func Add(h http.Header, values []string) (forget func()) {
	before, had := h["Set-Cookie"]
	h["Set-Cookie"] = slices.Concat(before, values)
	return func() {
		if h["Set-Cookie"] = before; !had {
			delete(h, "Set-Cookie")
		}
	}
}
