package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Every command that is shown has a method Examples, beside its Help. It
// returns command lines as they are typed, each below a comment that says what
// they are for. A test parses them all.
type exampler interface{ Examples() string }

// examplesOf returns the examples of a command, or "" if it has none.
func examplesOf(node *kong.Node) string {
	command, ok := node.Target.Addr().Interface().(exampler)
	if !ok {
		return ""
	}
	return strings.TrimSpace(command.Examples())
}

// helpWithExamples prints help as kong does, and below that of a command its
// examples.
func helpWithExamples(options kong.HelpOptions, command *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, command); err != nil {
		return err
	}
	node := command.Selected()
	if node == nil {
		return nil
	}
	if examples := examplesOf(node); examples != "" {
		fmt.Fprint(command.Stdout, "\nExamples:\n", indent(examples), "\n")
	}
	return nil
}

// indent moves all lines but the empty ones to the right.
func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.String()
}
