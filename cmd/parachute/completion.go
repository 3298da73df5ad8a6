package main

import (
	"context"
	"embed"
	"fmt"
	"strings"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// The scripts call the hidden command __complete at every press of the
// completion key, so their suggestions always fit this program and the services
// of its proxy.
//
//go:embed completion
var completionScripts embed.FS

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell, which is bash, zsh or fish."`
}

// Help explains what the script does.
func (completionCommand) Help() string {
	return `It prints a script that has the shell complete commands, flags and their values, and the names of the services that a proxy serves.`
}

func (completionCommand) Examples() string {
	return `
# In ~/.bashrc.
eval "$(parachute completion bash)"

# In ~/.zshrc, below compinit.
eval "$(parachute completion zsh)"

# In ~/.config/fish/config.fish.
parachute completion fish | source`
}

func (c *completionCommand) Run(p *program) error {
	script, err := completionScripts.ReadFile("completion/parachute." + c.Shell)
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(script)
	return err
}

// completeCommand prints what may come next on a command line. The first line of
// its output is a suggestionKind, and each other line a suggestion in the form
// that the shell expects. An incomplete command line is no error.
type completeCommand struct {
	Words []string `arg:"" optional:"" sep:"none" help:"The shell, and the words in front of the cursor without the program's; the last one is being typed, and may be empty."`
}

func (c *completeCommand) Run(ctx context.Context, p *program) error {
	if len(c.Words) < 2 {
		return nil
	}
	shell, words, cut := c.Words[0], c.Words[1:], 0
	if shell == "bash" {
		words, cut = joinBashWords(words)
	}
	parser, err := p.parser(func(int) {})
	if err != nil {
		return err
	}
	last := len(words) - 1
	kind, suggestions := parseLine(parser.Model.Node, words[:last]).suggest(words[last], func(socket string) []string {
		return p.serviceNames(ctx, socket)
	})
	fmt.Fprintln(p.stdout, kind)
	for _, s := range suggestions {
		fmt.Fprintln(p.stdout, s.format(shell, cut))
	}
	return nil
}

// serviceNames asks the proxy on a socket for the names of its services. If
// socket is empty, it asks the proxy that a command without --socket talks to.
func (p *program) serviceNames(ctx context.Context, socket string) []string {
	if socket == "" {
		socket = p.environ.getenv(variablePrefix + "SOCKET")
	}
	var names []string
	_ = remoteFlags{Socket: socket}.queryBriefly(ctx, p, func(ctx context.Context, client *control.Client) error {
		services, err := client.Services(ctx)
		for _, s := range services {
			names = append(names, s.Service)
		}
		return err
	})
	return names
}

// joinBashWords joins the words that bash has split at '=' and ':', as in
// --log-format=json and web-1:3000. Bash replaces only what follows such a
// character in the last word; cut is the number of bytes before that.
func joinBashWords(words []string) (all []string, cut int) {
	open := false // the next word continues the one before
	for i, word := range words {
		divides := word != "" && strings.Trim(word, "=:") == ""
		if i > 0 && (divides || open && word != "") {
			cut = len(all[len(all)-1])
			all[len(all)-1] += word
		} else {
			cut = 0
			all = append(all, word)
		}
		if open = divides; divides {
			cut = len(all[len(all)-1])
		}
	}
	return all, cut
}

// format returns a suggestion as the script of a shell reads it. For bash, it
// leaves out the first cut bytes.
func (s suggestion) format(shell string, cut int) string {
	word, separator := s.word, "\t"
	switch shell {
	case "bash":
		return bashQuote(word[cut:])
	case "zsh":
		word, separator = strings.ReplaceAll(word, ":", `\:`), ":"
	}
	if s.help == "" {
		return word
	}
	return word + separator + s.help
}

// bashQuote quotes a word, because bash inserts it into the command line as it
// is, and a service may be called $(reboot).
func bashQuote(word string) string {
	var b strings.Builder
	for _, c := range word {
		if c < 0x80 && strings.ContainsRune(" |&;<>()$`\\\"'*?[]{}#~!^", c) {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}
