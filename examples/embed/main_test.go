package main

import (
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestReadmeShowsThisProgram(t *testing.T) {
	is := is.New(t)
	program, err := os.ReadFile("main.go")
	is.NoErr(err)
	readme, err := os.ReadFile("../../README.md")
	is.NoErr(err)
	is.True(strings.Contains(string(readme), "```go\n"+string(program)+"```\n")) // README.md has main.go word for word
}
