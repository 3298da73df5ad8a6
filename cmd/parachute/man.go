package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// manCommand prints the manual page, which describes all commands.
type manCommand struct{}

func (manCommand) Run(p *program) error {
	parser, err := p.parser(func(int) {})
	if err != nil {
		return err
	}
	_, err = io.WriteString(p.stdout, manualPage(parser.Model, currentBuild()))
	return err
}

func manualPage(app *kong.Application, b build) string {
	date := `""`
	if !b.Time.IsZero() {
		date = b.Time.UTC().Format("2006-01-02")
	}
	commands := sortByGroup(app.Leaves(true), commandGroup)
	m := new(roff)
	m.request("TH PARACHUTE 1 "+date, "parachute "+b.Version, "User Commands")
	// Without hyphenation, names can be copied from the page.
	m.request("nh")
	m.request("ad l")
	m.request("SH", "NAME")
	m.text("parachute - a reverse proxy whose deploys cost nobody a request")
	m.request("SH", "SYNOPSIS")
	for _, c := range commands {
		m.request("SY", app.Name+" "+commandPath(c))
		m.text(strings.TrimPrefix(c.Summary(), c.Path()))
		m.request("YS")
	}
	m.request("SH", "DESCRIPTION")
	m.paragraphs(app.Help)
	m.request("SH", "COMMANDS")
	m.text("With --help, or -h, a command shows what stands here about it.")
	for _, c := range commands {
		m.command(c)
	}
	m.request("SH", "ENVIRONMENT")
	m.text("A flag that is given wins over its variable, and the variable that begins with " + variablePrefix + " over the other.")
	m.entries(slices.Concat(flagVariableEntries(commands), otherVariableEntries()))
	m.request("SH", "EXIT STATUS")
	m.entries(exitStatusEntries())
	m.request("SH", "FILES")
	m.entries(fileEntries())
	m.request("SH", "EXAMPLES")
	for _, c := range commands {
		m.verbatim(examplesOf(c))
	}
	return m.String()
}

// command writes the section about a command, without its examples.
func (r *roff) command(c *kong.Node) {
	title := commandPath(c)
	if len(c.Aliases) > 0 {
		title += " (" + strings.Join(c.Aliases, ", ") + ")"
	}
	r.request("SS", title)
	r.paragraphs(c.Help)
	r.paragraphs(c.Detail)
	for _, argument := range c.Positional {
		r.entries([]entry{{argument.Summary(), argument.Help}})
	}
	heading := ""
	for _, flag := range sortByGroup(c.Flags, flagGroup) {
		if flag.Hidden {
			continue
		}
		if group := flagGroup(flag); group != heading {
			heading = group
			r.paragraphs(heading)
		}
		r.entries([]entry{{flagSynopsis(flag), helpWithVariables(flag.Value)}})
	}
}

// flagSynopsis returns all forms of a flag, with the placeholder of its value.
func flagSynopsis(flag *kong.Flag) string {
	value := ""
	if !takesNoValue(flag) {
		value = "=" + flag.FormatPlaceHolder()
	}
	var forms []string
	for _, s := range flagNames(flag) {
		forms = append(forms, s.word+value)
	}
	return strings.Join(forms, ", ")
}

// sortByGroup returns all sorted by group, in the order in which the groups
// first appear. Elements without a group come first.
func sortByGroup[T any](all []T, group func(T) string) []T {
	groups := []string{""}
	for _, one := range all {
		if g := group(one); !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b T) int {
		return slices.Index(groups, group(a)) - slices.Index(groups, group(b))
	})
	return sorted
}

func commandGroup(c *kong.Node) string { return titleOf(c.ClosestGroup()) }
func flagGroup(f *kong.Flag) string    { return titleOf(f.Group) }

func titleOf(group *kong.Group) string {
	if group == nil {
		return ""
	}
	return group.Title
}

// flagVariableEntries returns an entry for each variable that a flag is read
// from.
func flagVariableEntries(commands []*kong.Node) (all []entry) {
	for _, c := range commands {
		for _, flag := range c.Flags {
			name := strings.Join(variables(flag.Value), ", ")
			known := slices.ContainsFunc(all, func(e entry) bool { return e.name == name })
			if name != "" && !known {
				all = append(all, entry{name, "The flag --" + flag.Name + "."})
			}
		}
	}
	return all
}

func otherVariableEntries() []entry {
	return []entry{
		{"XDG_STATE_HOME, HOME", "Where the state of a proxy is that root does not run."},
		{"XDG_RUNTIME_DIR, TMPDIR", "Where its control socket is."},
		{"NO_COLOR", "If it is not empty, nothing is coloured."},
		{"TERM", "If it is dumb, output is as for a file."},
		{"GOGC, GOMEMLIMIT", "How much memory a proxy takes to save work, as for every program in Go."},
	}
}

func exitStatusEntries() []entry {
	return []entry{
		{fmt.Sprint(exitDone), "It is done. Of a change: the new version serves, also where requests had to be cut off."},
		{fmt.Sprint(exitRefused), "It was refused, could not be done, or was taken back. What served before serves on."},
		{fmt.Sprint(exitUsage), "The command line was not understood. What served before serves on."},
		{fmt.Sprint(exitUndecided), "It is not decided which version stays, or not known: stop neither."},
		{fmt.Sprint(exitSuperseded), "A newer change of the service came first, and decides."},
		{fmt.Sprint(exitNoProxy), "No proxy answered on the control socket. What served before serves on."},
	}
}

func fileEntries() []entry {
	return []entry{
		{systemDataDir, "The state of a proxy that root runs: what is deployed, and its certificates with their keys."},
		{systemSocket, "Its control socket."},
		{"$XDG_STATE_HOME/parachute, ~/.local/state/parachute", "The state of a proxy that somebody else runs."},
		{"$XDG_RUNTIME_DIR/parachute/" + socketName + ", /tmp/parachute-UID/" + socketName, "Its control socket."},
	}
}
