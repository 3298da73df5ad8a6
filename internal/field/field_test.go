package field_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
)

func TestTokenIsMadeOfTokenCharacters(t *testing.T) {
	const others = "!#$%&'*+-.^_`|~"
	for c := range 256 {
		s := string([]byte{byte(c)})
		isLetter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		want := isLetter || c < 128 && strings.Contains(others, s)
		if field.IsToken(s) != want || field.IsTokenByte(byte(c)) != want {
			t.Errorf("IsToken(%q), IsTokenByte(%[1]q) = %v, %v", s, field.IsToken(s), field.IsTokenByte(byte(c)))
		}
	}
}

func TestEmptyStringIsNoToken(t *testing.T) {
	is := is.New(t)
	is.True(!field.IsToken(""))
	is.True(field.IsToken("X-Request-ID"))
	is.True(!field.IsToken("X Y"))
}

func TestValueHasNoControlCharactersButTabs(t *testing.T) {
	for c := range 256 {
		s := "a" + string([]byte{byte(c)}) + "b"
		want := c == '\t' || c >= ' ' && c != 0x7f
		if field.IsValue(s) != want || field.IsValueByte(byte(c)) != want {
			t.Errorf("IsValue(%q), IsValueByte = %v, %v", s, field.IsValue(s), field.IsValueByte(byte(c)))
		}
		for _, around := range []string{"a", " ", "~", "\t", "\x80", "\xff"} {
			for at := range 20 { // however many bytes are looked at at once
				long := strings.Repeat(around, at) + s[1:2] + strings.Repeat(around, 19-at)
				if field.IsValue(long) != want {
					t.Errorf("IsValue(%q) = %v", long, field.IsValue(long))
				}
			}
		}
	}
	is := is.New(t)
	is.True(field.IsValue(""))
}

func TestNamesAreCanonicalAsEverywhere(t *testing.T) {
	is := is.New(t)
	for _, name := range []string{"Host", "host", "HOST", "x-a-b", "X-A-b", "X-A-B", "x--a", "ETag", "a", "-", "1-a", "!a", "^A"} {
		canonical, isToken := field.CanonicalName(name)
		is.True(isToken) // its name is one
		is.Equal(canonical, http.CanonicalHeaderKey(name))
	}
	for _, name := range []string{"", "X A", "X-A ", "X:A", "X-\u00e4", "x-a\x00"} {
		_, isToken := field.CanonicalName(name)
		is.True(!isToken) // its name is none
	}
}

func TestSpaceAroundAValueIsSpacesAndTabs(t *testing.T) {
	is := is.New(t)
	is.Equal(field.TrimSpace(" \t a \tb\t "), "a \tb")
	is.Equal(field.TrimSpace("a"), "a")
	is.Equal(field.TrimSpace(" \t"), "")
	is.Equal(field.TrimSpace("\u00a0a\v"), "\u00a0a\v") // no other space is
}

func TestElementsAreTrimmedAndNeverEmpty(t *testing.T) {
	is := is.New(t)
	is.Equal(slices.Collect(field.Elements(" a,\tb ,, c d,")), []string{"a", "b", "c d"})
	is.Equal(slices.Collect(field.Elements("")), nil)
}

func TestTokenIsFoundInAnyListAndCase(t *testing.T) {
	is := is.New(t)
	lists := []string{"keep-alive", "x, UPGRADE"}
	is.True(field.HasToken(lists, "upgrade"))
	is.True(field.HasToken(lists, "Keep-Alive"))
	is.True(!field.HasToken(lists, "grade")) // a part of one
	is.True(!field.HasToken(nil, "upgrade"))
}

func TestMediaTypesAreKnownInAnyCaseAndWithParameters(t *testing.T) {
	tests := []struct {
		contentType  string
		events, grpc bool
	}{
		{"text/event-stream", true, false},
		{"Text/Event-Stream; charset=utf-8", true, false},
		{" text/event-stream ;x", true, false},
		{"text/event-streams", false, false},
		{"text/html", false, false},
		{"application/grpc", false, true},
		{"Application/gRPC", false, true},
		{"application/grpc+proto", false, true},
		{"application/grpc;charset=x", false, true},
		{"application/grpc-web", false, false},
		{"application/grpcx", false, false},
		{"application/grp", false, false},
		{"", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.contentType, func(t *testing.T) {
			is := is.New(t)
			h := http.Header{"Content-Type": {tt.contentType}}
			is.Equal(field.IsEventStream(h), tt.events)
			is.Equal(field.IsGRPC(h), tt.grpc)
		})
	}
}

func TestCallsComeOverHTTP2(t *testing.T) {
	is := is.New(t)
	for protocol, want := range map[int]bool{1: false, 2: true, 3: true} {
		is.Equal(field.IsCall(&http.Request{ProtoMajor: protocol, Header: http.Header{"Content-Type": {"application/grpc"}}}), want)
		is.True(!field.IsCall(&http.Request{ProtoMajor: protocol, Header: http.Header{"Content-Type": {"text/plain"}}}))
	}
}

func TestMediaTypeIsFoundInAnyListAndCase(t *testing.T) {
	is := is.New(t)
	lists := []string{"text/html", "*/*;q=0.1, Application/X-NDJSON ;q=0.5"}
	is.True(field.HasMediaType(lists, "application/x-ndjson"))
	is.True(!field.HasMediaType(lists, "application/x"))                                       // a part of one
	is.True(!field.HasMediaType(lists, "application/json"))                                    // what */* stands for is not named
	is.True(!field.HasMediaType([]string{"x/y;application/x-ndjson"}, "application/x-ndjson")) // a parameter
	is.True(!field.HasMediaType(nil, "text/html"))
}

func TestHeadWithoutContentTypeHasNoMediaType(t *testing.T) {
	is := is.New(t)
	is.Equal(field.MediaType(nil), "")
	is.Equal(field.MediaType(http.Header{"Content-Type": {"A/B ; q=1"}}), "A/B")
}
