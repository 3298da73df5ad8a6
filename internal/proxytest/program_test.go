package proxytest_test

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestProgramThatIsNotThereIsNotBuilt(t *testing.T) {
	is := is.New(t)
	err := proxytest.Build(filepath.Join(t.TempDir(), "p"), "..", "./nowhere")
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "nowhere")) // what the go command said
}

func TestLineIsAwaited(t *testing.T) {
	anything := func(string) bool { return true }
	second := func(line string) bool { return strings.HasPrefix(line, "two") }
	for name, test := range map[string]struct {
		said    []string // a second apart, and then it ends
		matches func(string) bool
		want    string
		err     error
	}{
		"that is there":         {[]string{"one\ntwo\n"}, second, "two\n", nil},
		"that comes later":      {[]string{"one\n", "two\n"}, second, "two\n", nil},
		"in pieces":             {[]string{"one", " and two", "\n"}, anything, "one and two\n", nil},
		"that is the last":      {[]string{"one\n", "", "", "two\n"}, second, "two\n", nil},
		"that never comes":      {[]string{"one\n"}, second, "", proxytest.ErrEnded},
		"that is not whole":     {[]string{"two"}, second, "", proxytest.ErrEnded},
		"that takes for ever":   {[]string{"one\n", "", "", "", "", "", "two\n"}, second, "", proxytest.ErrLate},
		"of what says nothing":  {nil, anything, "", proxytest.ErrEnded},
		"of what is very quiet": {make([]string, 9), anything, "", proxytest.ErrLate},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var o proxytest.Output
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					for i, s := range test.said {
						if i > 0 {
							time.Sleep(time.Second)
						}
						io.WriteString(&o, s)
					}
				}()
				line, err := o.Await(ended, 5*time.Second, test.matches)
				is.Equal(line, test.want)
				is.Equal(err, test.err)
				<-ended
				is.Equal(o.String(), strings.Join(test.said, ""))
			})
		})
	}
}
