package field

import "net/http"

// CanSend reports whether a field is valid and may be added to any request: it is neither
// Host nor one that frames the message.
func CanSend(name, value string) bool {
	if !IsToken(name) {
		return false
	}
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Connection", "Content-Length", "Transfer-Encoding":
		return false
	}
	return IsValue(value)
}
