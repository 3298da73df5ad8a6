package pages

import (
	"cmp"
	"net/http"
)

// title returns a status in words.
func title(status int) string {
	return cmp.Or(http.StatusText(status), "Unknown Status")
}

// text returns what a status means to a visitor.
func text(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "This request could not be understood."
	case http.StatusUnauthorized:
		return "Please sign in to see this page."
	case http.StatusForbidden:
		return "You are not allowed to see this page."
	case http.StatusNotFound:
		return "There is nothing at this address."
	case http.StatusMethodNotAllowed:
		return "This cannot be done at this address."
	case http.StatusRequestEntityTooLarge:
		return "What you sent is larger than what is accepted here."
	case http.StatusMisdirectedRequest:
		return "This request came to the wrong place. Please load the page again."
	case http.StatusTooManyRequests:
		return "That was too much at once. Please wait a moment."
	case http.StatusBadGateway:
		return "The site did not answer as it should."
	case http.StatusServiceUnavailable:
		return "The site is not available right now."
	case http.StatusGatewayTimeout:
		return "The site took too long to answer."
	}
	switch {
	case status >= 500:
		return "Something went wrong here."
	case status >= 400:
		return "This request cannot be answered."
	}
	return "This page is at another address."
}
