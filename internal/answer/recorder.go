package answer

import (
	"cmp"
	"net/http"
)

// A Recorder is a ResponseWriter that keeps the status which a handler answers
// with.
type Recorder struct {
	http.ResponseWriter
	Status int // 0: no answer has begun
}

// WriteHeader keeps a final status, and passes on every one.
func (r *Recorder) WriteHeader(status int) {
	if status >= 200 {
		r.Status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write passes p on. As in net/http, it stands for a status of 200 if it comes
// before one.
func (r *Recorder) Write(p []byte) (int, error) {
	r.Status = cmp.Or(r.Status, http.StatusOK)
	return r.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (r *Recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
