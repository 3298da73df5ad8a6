package main

import (
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/matryer/is"
)

func TestReadmeHasEveryVariableAndEveryFlagOfDeploy(t *testing.T) {
	is := is.New(t)
	readme, err := os.ReadFile("../../README.md")
	is.NoErr(err)
	parser, err := kong.New(&grammar{})
	is.NoErr(err)
	for _, command := range parser.Model.Children {
		for _, flag := range command.Flags {
			wanted := variables(flag.Value)
			if command.Name == "deploy" && flag.Name != "socket" {
				wanted = []string{"--" + flag.Name}
			}
			for _, name := range wanted {
				if !strings.Contains(string(readme), name) {
					t.Errorf("README.md does not tell of %s of %s", name, command.Name)
				}
			}
		}
	}
}
