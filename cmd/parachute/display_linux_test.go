package main_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/matryer/is"

	main "github.com/shahnk19/parachute/cmd/parachute"
)

func TestDisplayIsThatOfATerminal(t *testing.T) {
	is := is.New(t)
	terminal, _ := openTerminal(t, 100, 30)
	size := func(env environment, file *os.File) string {
		return main.DisplayOf(func(name string) string { return env[name] }, file)
	}
	is.Equal(size(environment{"TERM": "xterm"}, terminal), "100x30 in colour")
	is.Equal(size(environment{"TERM": "xterm", "NO_COLOR": "1"}, terminal), "100x30")
	is.Equal(size(environment{"TERM": "xterm", "NO_COLOR": ""}, terminal), "100x30 in colour") // empty counts as unset
	is.Equal(size(environment{"TERM": "dumb"}, terminal), "none")

	silent, _ := openTerminal(t, 0, 0)
	is.Equal(size(environment{}, silent), "80x24 in colour")

	file, err := os.Create(t.TempDir() + "/out")
	is.NoErr(err)
	defer file.Close()
	is.Equal(size(environment{}, file), "none")
	is.Equal(main.DisplayOf(func(string) string { return "" }, new(bytes.Buffer)), "none")
}
