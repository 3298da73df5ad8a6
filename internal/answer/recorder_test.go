package answer_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/answer"
)

func TestRecorderKeepsTheFinalStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		handle func(w http.ResponseWriter)
		want   int
	}{
		"nothing":         {func(http.ResponseWriter) {}, 0},
		"status":          {func(w http.ResponseWriter) { w.WriteHeader(404) }, 404},
		"early hints":     {func(w http.ResponseWriter) { w.WriteHeader(103) }, 0},
		"content":         {func(w http.ResponseWriter) { io.WriteString(w, "hello") }, 200},
		"status, content": {func(w http.ResponseWriter) { w.WriteHeader(404); io.WriteString(w, "hello") }, 404},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			inner := httptest.NewRecorder()
			w := &answer.Recorder{ResponseWriter: inner}
			tt.handle(w)
			is.Equal(w.Status, tt.want)
			is.NoErr(http.NewResponseController(w).Flush()) // of what is inside
			is.True(inner.Flushed)
		})
	}
}
