package http1

import "net/http"

// A refusal is why a request is not served. It is answered with its status, and
// the connection is closed: where the next request would begin is not known, or
// not to be trusted.
type refusal struct {
	status int
	why    string
}

func (r *refusal) Error() string { return r.why }

var (
	errLineEnd    = &refusal{http.StatusBadRequest, "a line does not end with CRLF"}
	errEmptyLine  = &refusal{http.StatusBadRequest, "an empty line in the place of a request line"}
	errBeginning  = &refusal{http.StatusBadRequest, "not the beginning of a request line"}
	errLine       = &refusal{http.StatusBadRequest, "the request line is not a method, a target and a version with single spaces between them"}
	errMethod     = &refusal{http.StatusBadRequest, "the method is not a token"}
	errVersion    = &refusal{http.StatusHTTPVersionNotSupported, "the version is neither HTTP/1.1 nor HTTP/1.0"}
	errTargetByte = &refusal{http.StatusBadRequest, "the request target has a '#' or a control character"}
	errTargetForm = &refusal{http.StatusBadRequest, "the request target is none that its method can have"}
	errTargetPath = &refusal{http.StatusBadRequest, "the path of the request target cannot be decoded"}
	errTargetSize = &refusal{http.StatusRequestURITooLong, "the request target is too long"}
	errHeadSize   = &refusal{http.StatusRequestHeaderFieldsTooLarge, "the head is too large"}
	errFields     = &refusal{http.StatusRequestHeaderFieldsTooLarge, "there are too many fields"}
	errFolded     = &refusal{http.StatusBadRequest, "a line begins with white space"}
	errFieldName  = &refusal{http.StatusBadRequest, "the name of a field is not a token"}
	errFieldValue = &refusal{http.StatusBadRequest, "the value of a field has a control character"}
	errNoHost     = &refusal{http.StatusBadRequest, "no Host"}
	errHosts      = &refusal{http.StatusBadRequest, "more than one Host"}
	errHost       = &refusal{http.StatusBadRequest, "the Host is neither a name nor an address with an optional port"}
	errLength     = &refusal{http.StatusBadRequest, "the Content-Length is not one number"}
	errTwoLengths = &refusal{http.StatusBadRequest, "both Content-Length and Transfer-Encoding"}
	errOldCoding  = &refusal{http.StatusBadRequest, "Transfer-Encoding in HTTP/1.0"}
	errCodings    = &refusal{http.StatusBadRequest, "the Transfer-Encoding is not chunked, once and last"}
	errCoding     = &refusal{http.StatusNotImplemented, "a transfer coding other than chunked"}
	errTrailer    = &refusal{http.StatusBadRequest, "a trailer is announced that says where the message ends"}
	errExpect     = &refusal{http.StatusExpectationFailed, "an expectation other than 100-continue"}
	errSlowHead   = &refusal{http.StatusRequestTimeout, "the head took too long"}
)
