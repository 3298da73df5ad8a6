package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Every visible command is an exampler. Examples returns command lines, each
// below a comment that says what it does. A test parses all of them.
type exampler interface{ Examples() string }

// examplesOf returns the examples of a command, or "" if it has none.
func examplesOf(node *kong.Node) string {
	command, ok := node.Target.Addr().Interface().(exampler)
	if !ok {
		return ""
	}
	return strings.TrimSpace(command.Examples())
}

// helpWithExamples prints help as kong does, followed by the examples of the
// command.
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

// indent indents all lines that are not empty.
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
