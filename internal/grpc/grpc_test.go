package grpc_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/grpc"
)

func TestCodesAreWhatClientsMakeOfAStatus(t *testing.T) {
	is := is.New(t)
	for status, want := range map[int]grpc.Code{
		400: grpc.Internal, 401: grpc.Unauthenticated, 403: grpc.PermissionDenied, 404: grpc.Unimplemented,
		413: grpc.ResourceExhausted, 429: grpc.Unavailable, 502: grpc.Unavailable, 503: grpc.Unavailable,
		504: grpc.Unavailable, 421: grpc.Unknown, 500: grpc.Unknown,
	} {
		is.Equal(grpc.CodeOf(status), want) // of that status
	}
	is.Equal(grpc.Unavailable.String(), "UNAVAILABLE")
	is.Equal(grpc.Unauthenticated.String(), "UNAUTHENTICATED")
	is.Equal(grpc.Code(99).String(), "CODE_99")
}

func TestStatusIsReadAsItWasWritten(t *testing.T) {
	is := is.New(t)
	want := grpc.Status{Code: grpc.Unavailable, Message: "100 % grün,\nnot"}

	w := httptest.NewRecorder()
	w.Header()["Content-Length"] = []string{"7"} // of other content
	want.Answer(w)
	is.Equal(w.Code, http.StatusOK)
	is.Equal(w.Header(), http.Header{
		"Content-Type": {"application/grpc"},
		"Grpc-Status":  {"14"},
		"Grpc-Message": {"100 %25 gr%C3%BCn,%0Anot"},
	})
	got, ok := grpc.StatusOf(w.Header(), nil)
	is.True(ok)
	is.Equal(got, want) // of an answer without trailers

	w = httptest.NewRecorder()
	w.WriteHeader(http.StatusOK)
	want.End(w)
	got, ok = grpc.StatusOf(nil, w.Result().Trailer)
	is.True(ok)
	is.Equal(got, want) // of a trailer section

	_, ok = grpc.StatusOf(http.Header{"Grpc-Status": {"-1"}}, nil)
	is.True(!ok) // what is no number is no status
	got, _ = grpc.StatusOf(http.Header{"Grpc-Status": {"0"}}, http.Header{"Grpc-Status": {"5"}})
	is.Equal(got.Code, grpc.NotFound) // the end counts
}

func TestMessagesAreToldApartHoweverTheyAreCut(t *testing.T) {
	is := is.New(t)
	empty, one := []byte{0, 0, 0, 0, 0}, []byte{1, 0, 0, 0, 3, 'a', 'b', 'c'}
	var stream []byte
	var ends []int // in stream, of each message
	for _, m := range [][]byte{one, empty, empty, one, one} {
		stream = append(stream, m...)
		ends = append(ends, len(stream))
	}
	for size := 1; size <= len(stream); size++ {
		var m grpc.Messages
		is.True(m.AreWhole()) // before the first
		for at := 0; at < len(stream); {
			next := min(at+size, len(stream))
			m.Pass(stream[at:next])
			at = next
			begun, whole := 0, false
			for i, end := range ends {
				if start := append([]int{0}, ends...)[i]; start < at {
					begun++
				}
				whole = whole || at == end
			}
			is.Equal(m.Begun(), begun)    // messages
			is.Equal(m.AreWhole(), whole) // at their ends, and nowhere else
		}
	}
}

func TestLargestMessageIsNoNegativeOne(t *testing.T) {
	is := is.New(t)
	var m grpc.Messages
	m.Pass([]byte{0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3})
	m.Pass(make([]byte, 1<<20))
	is.Equal(m.Begun(), 1)
	is.True(!m.AreWhole())
}

func TestHealthIsReadAsItWasWritten(t *testing.T) {
	is := is.New(t)
	is.Equal(grpc.HealthRequest(""), []byte{0, 0, 0, 0, 0})
	is.Equal(grpc.HealthRequest("web"), []byte{0, 0, 0, 0, 5, 0x0a, 3, 'w', 'e', 'b'})
	for _, h := range []grpc.Health{0, grpc.HealthServing, grpc.HealthNot, grpc.ServiceUnknown, 300} {
		got, err := grpc.ParseHealth(grpc.HealthAnswer(h))
		is.NoErr(err)
		is.Equal(got, h)
	}
	got, err := grpc.ParseHealth([]byte{
		0, 0, 0, 0, 22,
		0x12, 1, 'x', // fields of a later version: bytes,
		0x19, 1, 2, 3, 4, 5, 6, 7, 8, // eight bytes,
		0x25, 1, 2, 3, 4, // four,
		0x28, 0x96, 0x01, // a number
		0x08, 1,
	})
	is.NoErr(err)
	is.Equal(got, grpc.HealthServing)
}

func TestWhatIsNoAnswerAboutHealthIsRefused(t *testing.T) {
	for _, body := range []string{
		"",
		"<html>",
		"\x01\x00\x00\x00\x02\x08\x01",     // compressed, which nobody asked for
		"\x00\x00\x00\x00\x03\x08\x01",     // cut short
		"\x00\x00\x00\x00\x01\x08",         // a key without a value
		"\x00\x00\x00\x00\x02\x08\x81",     // half a number
		"\x00\x00\x00\x00\x03\x12\x05a",    // shorter than it says
		"\x00\x00\x00\x00\x02\x0b\x01",     // a kind that there is not
		"\x00\x00\x00\x00\x02\x08\x01more", // and something behind it
	} {
		if h, err := grpc.ParseHealth([]byte(body)); err == nil {
			t.Errorf("%q was read as %v", body, h)
		}
	}
}

func FuzzParseHealth(f *testing.F) {
	f.Add(grpc.HealthAnswer(grpc.HealthServing))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := grpc.ParseHealth(body)
		if err != nil {
			return
		}
		again, err := grpc.ParseHealth(grpc.HealthAnswer(h))
		if err != nil || again != h {
			t.Errorf("%v became %v, %v", h, again, err)
		}
	})
}

func TestHealthIsAnsweredWithAMessageAndAStatus(t *testing.T) {
	is := is.New(t)
	w := httptest.NewRecorder()
	written := grpc.AnswerHealth(w, grpc.HealthServing)
	is.Equal(written, int64(w.Body.Len()))
	got, err := grpc.ParseHealth(w.Body.Bytes())
	is.NoErr(err)
	is.Equal(got, grpc.HealthServing)
	result := w.Result()
	is.Equal(result.Header.Get("Content-Type"), grpc.ContentType)
	is.Equal(result.Trailer.Get("Grpc-Status"), "0")
}
