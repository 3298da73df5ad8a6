package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
)

// maxBody is the largest body of a request. A deployment with ten thousand hosts
// has a third of that.
const maxBody = 1 << 20

// What the bodies of requests must be, with an example of each.
const (
	deploymentWanted = `a deployment in JSON, such as {"targets":["10.0.0.7:3000"],"hosts":["app1.example.com"]}`
	rollbackWanted   = `what to return to in JSON, such as {"to":"v41"}`
	pauseWanted      = `how to pause in JSON, such as {"max":"30s"}`
	stopWanted       = `how to stop in JSON, such as {"message":"Back at noon"}`
	rolloutWanted    = `a rollout in JSON, such as {"targets":["10.0.0.8:3000"]}`
	splitWanted      = `a split in JSON, such as {"percent":10}`
	splitPatchWanted = `what is to be other in the split, as a JSON merge patch, such as {"percent":10}`
)

// decodeBody decodes the body of r as a T. Its errors are ErrInvalid, and say what
// is wanted.
func decodeBody[T any](w http.ResponseWriter, r *http.Request, wanted string) (v T, err error) {
	data, err := readBody(w, r)
	switch {
	case err != nil:
		return v, err
	case len(data) == 0:
		return v, invalid(nil, "there is no body: want %s", wanted)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		return v, decodeError(err, reflect.TypeFor[T](), wanted)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return v, invalid(nil, "there is more in the body than one JSON object: want %s", wanted)
	}
	return v, nil
}

// decodeOptionalBody is decodeBody for a body that may be missing.
func decodeOptionalBody[T any](w http.ResponseWriter, r *http.Request, wanted string) (v T, err error) {
	if r.ContentLength == 0 {
		return v, nil
	}
	return decodeBody[T](w, r, wanted)
}

// readBody reads the body of r, without surrounding white space.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// The server lifts the deadline when it has seen the end of the body.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, invalid(err, "the body has more than %d bytes, which is the most", maxBody)
	case err != nil:
		return nil, invalid(err, "the body could not be read: %v", err)
	}
	return bytes.TrimSpace(data), nil
}

// decodeError explains an error of encoding/json about a body that should be a t.
func decodeError(err error, t reflect.Type, wanted string) error {
	var (
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	text := strings.TrimPrefix(err.Error(), "json: ")
	switch {
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF):
		return invalid(nil, "the body is not JSON: %s: want %s", text, wanted)
	case errors.As(err, &kind) && kind.Field == "":
		return invalid(nil, "the body is a JSON %s: want %s", kind.Value, wanted)
	case errors.As(err, &kind):
		return invalid(nil, "%s cannot be a JSON %s: want %s", kind.Field, kind.Value, wanted)
	case strings.HasPrefix(text, "unknown field"): // it has no type of its own
		return invalid(nil, "%s: want one of %s", text, strings.Join(fieldNames(t, ""), ", "))
	}
	return invalid(nil, "%s", text) // of the library's own UnmarshalJSON
}

// fieldNames returns the JSON names of the fields of a struct and of its nested
// structs.
func fieldNames(t reflect.Type, prefix string) []string {
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" || name == "-":
		case f.Type.Kind() == reflect.Struct:
			names = append(names, fieldNames(f.Type, prefix+name+".")...)
		default:
			names = append(names, prefix+name)
		}
	}
	return names
}
