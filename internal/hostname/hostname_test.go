package hostname_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/hostname"
)

func TestCanonicalIsWithoutPortBracketsFinalDotAndCase(t *testing.T) {
	for host, want := range map[string]string{
		"":                      "",
		".":                     "",
		":":                     "",
		":80":                   "",
		"app.test":              "app.test",
		"app.test.":             "app.test",
		"app.test:443":          "app.test",
		"app.test.:443":         "app.test",
		"app.test:":             "app.test",
		"a:b:c":                 "a:b",
		"App.TEST":              "app.test",
		"A":                     "a",
		"Z":                     "z",
		"@[`{":                  "@[`{", // the neighbours of letters
		"[::1]":                 "::1",
		"[::1]:443":             "::1",
		"[::1":                  "::1",
		"[FE80::1]:443":         "fe80::1",
		"[":                     "",
		"\x80":                  "xn--zn7c", // the replacement character
		"bücher.example":        "xn--bcher-kva.example",
		"BÜCHER.example.:8080":  "xn--bcher-kva.example",
		"xn--bcher-kva.example": "xn--bcher-kva.example",
		"My_App.test":           "my_app.test", // which IDNA has no room for
	} {
		t.Run(host, func(t *testing.T) {
			is := is.New(t)
			is.Equal(hostname.Canonical(host), want)
		})
	}
}

// To find out what it would be in ASCII takes seconds.
func TestCanonicalDoesNotLookAtANameThatIsTooLong(t *testing.T) {
	is := is.New(t)
	is.Equal(hostname.Canonical(strings.Repeat("A", 253)+".:443"), strings.Repeat("a", 253)) // as long as may be
	for _, name := range []string{strings.Repeat("A", 254), strings.Repeat("ü", 127), strings.Repeat("ü", 20000)} {
		is.Equal(hostname.Canonical(name+".:443"), name)
		is.True(!hostname.IsName(name))
	}
}

func TestNameIsMadeOfLabels(t *testing.T) {
	for name, want := range map[string]bool{
		"":                                    false,
		"a":                                   true,
		"az09.0-9_a":                          true,
		"app.test":                            true,
		"127.0.0.1":                           true,
		"::1":                                 false,
		".":                                   false,
		"app.test.":                           false, // is not canonical
		".app.test":                           false,
		"app..test":                           false,
		"App.test":                            false,
		"-app.test":                           false,
		"app-.test":                           false,
		"a-b.test":                            true,
		"_":                                   true,
		"app.test:80":                         false,
		"app.test/x":                          false,
		"*.test":                              false,
		"bücher.test":                         false,
		"a b":                                 false,
		"`.test":                              false, // the neighbours of a, z, 0 and 9
		"{.test":                              false,
		"/.test":                              false,
		":.test":                              false,
		strings.Repeat("a", 63):               true,
		strings.Repeat("a", 64):               false,
		strings.Repeat("a.", 126) + "a":       true,
		strings.Repeat("a.", 126) + "ab":      false,
		"x." + strings.Repeat("a", 63) + ".x": true,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(hostname.IsName(name), want)
		})
	}
}

func TestHostHeaderHasNothingThatEndsIt(t *testing.T) {
	is := is.New(t)
	for _, h := range []string{"", "app.test", "app.test:80", "[::1]:80", "!", "~"} {
		is.True(hostname.IsHostHeader(h)) // h
	}
	for _, h := range []string{" ", "a b", "a\r\nb", "a/b", "a?b", "a#b", "a@b", `a\b`, "a,b", "\x7f", "bücher.test"} {
		is.True(!hostname.IsHostHeader(h)) // h
	}
}

func TestPortIsWhatTheClientSent(t *testing.T) {
	for host, want := range map[string]string{
		"":               "",
		":":              "",
		"app.test":       "",
		"app.test:":      "",
		"app.test:80":    "80",
		":80":            "80",
		"app.test:00080": "00080",
		"app.test:65535": "65535",
		"app.test:65536": "",
		"app.test:0":     "0",
		"app.test:+1":    "",
		"app.test:-1":    "",
		"app.test:x":     "",
		"[::1]":          "",
		"[::1]:8080":     "8080",
		"80":             "",
	} {
		t.Run(host, func(t *testing.T) {
			is := is.New(t)
			is.Equal(hostname.Port(host), want)
		})
	}
}

func TestOriginIsOfNamesAndAddressesAlone(t *testing.T) {
	for _, tt := range []struct {
		host, port, want string
	}{
		{"app.test", "", "https://app.test"},
		{"app.test", "8443", "https://app.test:8443"},
		{"10.0.0.1", "", "https://10.0.0.1"},
		{"::1", "", "https://[::1]"},
		{"fe80::1", "8443", "https://[fe80::1]:8443"},
		{"", "", ""},
		{"app.test/x", "", ""},
		{"user@app.test", "", ""},
		{"app.test:80", "", ""},
		{"[::1]", "", ""},
	} {
		t.Run(tt.host+" "+tt.port, func(t *testing.T) {
			is := is.New(t)
			origin, ok := hostname.Origin("https", tt.host, tt.port)
			is.Equal(origin, tt.want)
			is.Equal(ok, tt.want != "")
		})
	}
}

func FuzzCanonical(f *testing.F) {
	for _, host := range []string{"", "a", "A.Example.Com.:80", "[::1]:80", "[", "bücher.example", "a:b:c", ".", "xn--", "\xff", "*.a", "fe80::1%25x"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		name := hostname.Canonical(host)
		if hostname.IsName(name) && hostname.Canonical(name+".:80") != name {
			t.Errorf("%q with a final dot and a port is %q, not %q", host, hostname.Canonical(name+".:80"), name)
		}
		if pattern, err := hostname.ParsePattern(host); err == nil {
			if again, err := hostname.ParsePattern(pattern); err != nil || again != pattern {
				t.Errorf("%q is deployed as %q, which is deployed as %q (%v)", host, pattern, again, err)
			}
		}
		origin, ok := hostname.Origin("http", name, hostname.Port(host))
		if !ok {
			return
		}
		if addr, err := netip.ParseAddr(name); err == nil && addr.Zone() != "" {
			return // which a URL has with an escape
		}
		if u, err := url.Parse(origin); err != nil || u.Hostname() != name || u.Port() != hostname.Port(host) || u.User != nil || u.Path+u.RawQuery+u.Fragment != "" {
			t.Errorf("the origin of %q is %q, which leads elsewhere (%v)", host, origin, err)
		}
	})
}

func TestRequestTargetIsVisibleASCIIWithoutFragment(t *testing.T) {
	is := is.New(t)
	for _, s := range []string{"/", "/up?x=~", "https://app.test/!", ""} {
		is.True(hostname.IsRequestTarget(s))
	}
	for _, s := range []string{"/a b", "/a#b", "/\x7f", "/caf\u00e9", "/\n"} {
		is.True(!hostname.IsRequestTarget(s))
	}
}
