package main

import (
	"encoding"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
)

func TestLimitIsNoneAtZeroAndNeverNegative(t *testing.T) {
	for _, test := range []struct {
		text string
		want time.Duration
		err  string
	}{
		{text: "30s", want: 30 * time.Second},
		{text: "1m30s", want: 90 * time.Second},
		{text: "0", want: -1},
		{text: "0s", want: -1},
		{text: "-5s", err: "negative"},
		{text: "30", err: "such as 30s"},
		{text: "", err: "no duration"},
		{text: "soon", err: `"soon" is no duration`},
	} {
		t.Run(test.text, func(t *testing.T) {
			is := is.New(t)
			var l durationLimit
			refused(is, l.UnmarshalText([]byte(test.text)), test.err)
			if test.err == "" {
				is.Equal(time.Duration(l), test.want) // as the library wants it
			}
		})
	}
}

func TestUnsetLimitIsTheDefaultOfTheLibrary(t *testing.T) {
	is := is.New(t)
	d, err := deploymentOf("web-1:3000")
	is.NoErr(err)
	is.Equal(d.Timeouts.Drain, time.Duration(0)) // which normalize takes for 30 s
}

func TestPeriodIsMoreThanNothing(t *testing.T) {
	is := is.New(t)
	var p positiveDuration
	is.NoErr(p.UnmarshalText([]byte("250ms")))
	is.Equal(time.Duration(p), 250*time.Millisecond)
	refused(is, p.UnmarshalText([]byte("0")), "too short")
	refused(is, p.UnmarshalText([]byte("-1s")), "negative")
}

func TestQuotaIsNoneAtZeroAndNeverNegative(t *testing.T) {
	is := is.New(t)
	var q optionalCount
	is.NoErr(q.UnmarshalText([]byte("1000")))
	is.Equal(q, optionalCount(1000))
	is.NoErr(q.UnmarshalText([]byte("0")))
	is.Equal(q, optionalCount(-1)) // as the library wants it
	refused(is, q.UnmarshalText([]byte("-1")), "no number")
	refused(is, q.UnmarshalText([]byte("many")), "no number")
}

func TestTargetCAIsAnAbsolutePathForTheProxy(t *testing.T) {
	is := is.New(t)
	wd, err := os.Getwd()
	is.NoErr(err)
	d, err := deploymentOf("web", "--target", "https://web-1:443", "--target-ca", "ca.pem")
	is.NoErr(err)
	is.Equal(d.TargetTLS.CAFile, filepath.Join(wd, "ca.pem"))
}

func TestListIsSplitAtCommasAndKeepsEmptyElements(t *testing.T) {
	is := is.New(t)
	var l stringList
	is.NoErr(l.UnmarshalText([]byte("a, b")))
	is.NoErr(l.UnmarshalText([]byte("")))
	is.Equal(l, stringList{"a", "b", ""}) // the empty one is for the library to refuse
}

func TestFlagValuesAreRefusedWithWhatIsWanted(t *testing.T) {
	for _, test := range []struct {
		name string
		into encoding.TextUnmarshaler
		bad  string
		want string
	}{
		{"port too high", new(port), "99999", "0 to 65535"},
		{"port of Kubernetes", new(port), "tcp://10.0.0.1:80", "0 to 65535"},
		{"port below 0", new(port), "-1", "0 to 65535"},
		{"mode not octal", new(mode), "0888", "such as 0660"},
		{"mode with more than permissions", new(mode), "4755", "such as 0660"},
		{"address with port", new(address), "127.0.0.1:80", "such as 127.0.0.1"},
		{"address by name", new(address), "localhost", "such as 127.0.0.1"},
		{"log format", new(logFormat), "xml", "json or text"},
		{"network", new(prefixes), "10.0.0.0/8,nearby", `"nearby" is no network`},
		{"network or address", new(prefixes), "10.1.2.3/8", `"10.1.2.3/8" has bits behind its prefix: want 10.0.0.0/8 for the network, or 10.1.2.3 for the address alone`},
		{"empty network", new(prefixes), "10.0.0.0/8,", `"" is no network`},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			refused(is, test.into.UnmarshalText([]byte(test.bad)), test.want)
		})
	}
}

func TestPrefixesTellNobodyFromNothingSaid(t *testing.T) {
	is := is.New(t)
	var unset, none, some prefixes
	is.NoErr(none.UnmarshalText([]byte("none")))
	is.NoErr(some.UnmarshalText([]byte("10.0.0.0/8, ::1")))
	is.True(unset == nil)                  // the default of the library
	is.True(none != nil && len(none) == 0) // nobody is trusted
	want := prefixes{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	is.Equal(some, want) // an address is a network of one
}

// deploymentOf returns what deploy asks a proxy for.
func deploymentOf(args ...string) (parachute.Deployment, error) {
	command, _, err := parse(nil, append([]string{"deploy"}, args...)...)
	if err != nil {
		return parachute.Deployment{}, err
	}
	return command.Deploy.deployment()
}

// refused is about an error that must say want, or not be there if want is "".
func refused(is *is.I, err error, want string) {
	is.Helper()
	if want == "" {
		is.NoErr(err)
		return
	}
	is.True(err != nil)                          // refused
	is.True(strings.Contains(err.Error(), want)) // says what is wanted
}
