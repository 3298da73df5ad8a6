package headers_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/headers"
)

func TestHSTSTakesWhatBrowsersDo(t *testing.T) {
	for _, value := range []string{
		"max-age=0",
		"max-age=31536000",
		"max-age=4294967295",
		`max-age="31536000"`,
		"max-age=31536000; includeSubDomains",
		"max-age=31536000; includeSubDomains; preload",
		"preload;INCLUDESUBDOMAINS;Max-Age = 1",
		"max-age=31536000;",
		" ;; max-age=1 ; ",
	} {
		is := is.New(t)
		is.NoErr(headers.CheckHSTS(value))
	}
}

func TestHSTSRefusesWhatBrowsersPassOver(t *testing.T) {
	for _, tt := range []struct{ value, why string }{
		{"", "there is no max-age"},
		{";", "there is no max-age"},
		{"true", `"true" is no directive`},
		{"includeSubDomains; preload", "there is no max-age"},
		{"max-age", `"" is no number of seconds`},
		{"max-age=", `"" is no number of seconds`},
		{"max-age=1y", `"1y" is no number of seconds`},
		{"max-age=-1", `"-1" is no number of seconds`},
		{"max-age=+1", `"+1" is no number of seconds`},
		{"max-age=1.5", `"1.5" is no number of seconds`},
		{"max-age=4294967296", `"4294967296" is no number of seconds`},
		{`max-age="`, `"\"" is no number of seconds`},
		{`max-age="1`, `"\"1" is no number of seconds`},
		{"max-age=1, includeSubDomains", `"1, includeSubDomains" is no number of seconds`},
		{"max-age=1; Max-Age=1", `"max-age" is given twice`},
		{"max-age=1; preload; preload", `"preload" is given twice`},
		{"max-age=1; includeSubDomain", `"includeSubDomain" is no directive`},
		{"max-age=1; includeSubDomains=true", `"includeSubDomains=true" is no directive`},
		{"max-age=1; preload=", `"preload=" is no directive`},
		{"max-age=1; =", `"=" is no directive`},
		{"max-age=1\r\nSet-Cookie: a=b", `"1\r\nSet-Cookie: a=b" is no number of seconds`},
	} {
		is := is.New(t)
		err := headers.CheckHSTS(tt.value)
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), ": "+tt.why+": want max-age=SECONDS"))
	}
}

// FuzzHSTS makes sure that nothing gets by which is more than one field.
func FuzzHSTS(f *testing.F) {
	f.Add(`max-age="1" ; includeSubDomains;preload;`)
	f.Add("max-age=1\r\n")
	f.Fuzz(func(t *testing.T, value string) {
		if headers.CheckHSTS(value) != nil {
			return
		}
		_, err := headers.ParseResponse([]string{"set Strict-Transport-Security:" + value})
		if err != nil {
			t.Errorf("%q is right, but no header can have it: %v", value, err)
		}
	})
}
