// Picture runs a shell script in a terminal of its own and draws what is on it
// in the end, as an SVG file. It is run by make picture, which renews the picture
// of a deploy in the project's README.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	out := flag.String("o", "picture.svg", "`file` to write")
	title := flag.String("title", "A terminal", "what the picture shows, for who does not see it")
	columns := flag.Uint("columns", 100, "`width` of the terminal")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := draw(ctx, flag.Args(), *out, *title, uint16(*columns)); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

// draw runs a command and writes the picture of it.
func draw(ctx context.Context, command []string, out, title string, columns uint16) error {
	if len(command) == 0 {
		return errors.New("no command: want one, such as sh docs/picture.sh")
	}
	s, err := watch(ctx, command, columns)
	if err != nil {
		return err
	}
	return os.WriteFile(out, svg(s, title), 0o644)
}

// watch runs a command in a terminal, and returns what is on it in the end.
func watch(ctx context.Context, command []string, columns uint16) (*screen, error) {
	terminal, user, err := openTerminal(columns, 40)
	if err != nil {
		return nil, err
	}
	defer user.Close()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "NO_COLOR=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err = cmd.Start()
	terminal.Close() // it is the command's alone now
	if err != nil {
		return nil, err
	}
	s := newScreen(int(columns))
	// What comes at the end is EIO: nobody has the terminal any more.
	if _, err := io.Copy(s, user); err != nil && !errors.Is(err, syscall.EIO) {
		return nil, errors.Join(err, cmd.Wait())
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w", command[0], err)
	}
	return s, nil
}
