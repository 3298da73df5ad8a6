package pages_test

import (
	"net/http/httptest"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/reason"
)

func TestRefusalTellsThePartOfTheProxyAndWhenToComeAgain(t *testing.T) {
	for why, want := range map[reason.Reason]struct {
		status           int
		part, retryAfter string
	}{
		reason.Stopped:    {503, "stopped", "5"},
		reason.Dial:       {502, "dial", ""},
		reason.BadRequest: {400, "", ""},
		reason.Moved:      {301, "", ""},
	} {
		t.Run(why.String(), func(t *testing.T) {
			is := is.New(t)
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
			written := new(pages.Set).Refuse(w, r, why, "Back at five.", "abc")
			is.Equal(w.Code, want.status)
			is.Equal(w.Header().Get("X-Parachute-Error"), want.part)
			is.Equal(w.Header().Get("Retry-After"), want.retryAfter)
			is.Equal(written, int64(w.Body.Len()))
			is.True(written > 0)
		})
	}
}

func TestRefusedCallGetsAStatusAndNoPage(t *testing.T) {
	is := is.New(t)
	w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/shop.Cart/Add", nil)
	r.ProtoMajor = 2
	r.Header.Set("Content-Type", grpc.ContentType)
	is.Equal(new(pages.Set).Refuse(w, r, reason.Stopped, "Back at five.", ""), int64(0))
	is.Equal(w.Code, 200)
	is.Equal(w.Body.Len(), 0)
	is.Equal(w.Header().Get("Grpc-Status"), "14")
	is.Equal(w.Header().Get("Grpc-Message"), "parachute: 503 Service Unavailable (stopped): Back at five.")

	w = httptest.NewRecorder()
	new(pages.Set).Refuse(w, r, reason.MovedOn, "", "")
	is.Equal(w.Code, 308) // which is no error

	r.ProtoMajor = 1 // which gRPC is not spoken over
	w = httptest.NewRecorder()
	new(pages.Set).Refuse(w, r, reason.Stopped, "", "")
	is.Equal(w.Code, 503)
}

func TestStatusOfACallSaysWhyItEnded(t *testing.T) {
	is := is.New(t)
	is.Equal(pages.CallStatus(reason.AnswerTooLarge, ""), grpc.Status{Code: grpc.ResourceExhausted, Message: "parachute: the answer is too large"})
	is.Equal(pages.CallStatus(reason.StreamClosed, ""), grpc.Status{Code: grpc.Unavailable, Message: "parachute: the call was ended (cut)"})
	is.Equal(pages.CallStatus(reason.Denied, ""), grpc.Status{Code: grpc.PermissionDenied, Message: "parachute: 403 Forbidden (denied)"})
}

func TestTextHasNoContentForHEAD(t *testing.T) {
	is := is.New(t)
	for method, want := range map[string]string{"GET": "halted\n", "HEAD": ""} {
		w := httptest.NewRecorder()
		written := pages.WriteText(w, httptest.NewRequest(method, "/", nil), 200, "halted\n")
		is.Equal(w.Body.String(), want)
		is.Equal(written, int64(len(want)))
		is.Equal(w.Header().Get("Content-Length"), "7")
		is.Equal(w.Header().Get("Content-Type"), "text/plain; charset=utf-8")
		is.Equal(w.Header().Get("X-Content-Type-Options"), "nosniff")
	}
}
