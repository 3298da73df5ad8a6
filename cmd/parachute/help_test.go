package main

import (
	"context"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/matryer/is"
)

// commands yields the commands that help shows, those of rollout among them.
func commands(t *testing.T) iter.Seq[*kong.Node] {
	t.Helper()
	parser, err := kong.New(&grammar{})
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(*kong.Node) bool) {
		_ = kong.Visit(parser.Model, func(v kong.Visitable, next kong.Next) error {
			node, ok := v.(*kong.Node)
			if !ok || node.Type != kong.CommandNode {
				return next(nil)
			}
			if node.Hidden || !yield(node) {
				return nil
			}
			return next(nil)
		})
	}
}

func TestEveryCommandHasAGroupAndExamplesOfItself(t *testing.T) {
	for node := range commands(t) {
		t.Run(commandPath(node), func(t *testing.T) {
			is := is.New(t)
			is.True(node.ClosestGroup() != nil)                                           // help shows it below a heading
			is.True(strings.HasPrefix(examplesOf(node), "# "))                            // says what the first is for
			is.True(strings.Contains(examplesOf(node), "\nparachute "+commandPath(node))) // calls the command
		})
	}
}

// There is no proxy for them, which is then the only thing that is wrong.
func TestEveryExampleIsUnderstood(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "s")
	env := []string{"PARACHUTE_SOCKET=" + nowhere}
	for node := range commands(t) {
		for line := range strings.Lines(examplesOf(node)) {
			args, ok := arguments(strings.TrimSuffix(line, "\n"))
			if !ok {
				continue
			}
			t.Run(line, func(t *testing.T) {
				is := is.New(t)
				is.True(len(args) > 0) // it calls parachute
				if args[0] == "run" {
					_, _, err := parse(nil, args...)
					is.NoErr(err)
					return
				}
				if args[0] == "apply" { // which reads the file first
					t.Chdir(t.TempDir())
					is.NoErr(os.WriteFile(args[1], []byte(`{"version":1,"services":[]}`), 0o600))
				}
				var said strings.Builder
				code := run(context.Background(), append([]string{"parachute"}, args...), env, io.Discard, &said)
				if code != exitDone && code != exitNoProxy {
					t.Errorf("exit code %d: %s", code, said.String())
				}
			})
		}
	}
}

// arguments returns those of a line of examples, and false if it is a comment or
// empty. What a shell does with the output is none of them.
func arguments(line string) (args []string, ok bool) {
	if line == "" || strings.HasPrefix(line, "#") {
		return nil, false
	}
	_, line, _ = strings.Cut(line, "parachute ")
	if end := strings.IndexAny(line, ")|>"); end >= 0 {
		line = line[:end]
	}
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	return args, true
}

func TestHelpEndsWithExamples(t *testing.T) {
	is := is.New(t)
	for _, args := range [][]string{{"help", "rollout", "set"}, {"rollout", "set", "--help"}} {
		var said strings.Builder
		is.Equal(run(context.Background(), append([]string{"parachute"}, args...), nil, &said, io.Discard), exitDone)
		_, examples, ok := strings.Cut(said.String(), "\nExamples:\n")
		is.True(ok)
		is.True(strings.HasPrefix(examples, "  # "))                           // what it is for
		is.True(strings.HasSuffix(examples, "rollout set web --percent 50\n")) // nothing comes after them
	}
}
