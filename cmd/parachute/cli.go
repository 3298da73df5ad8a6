package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
)

// A grammar is the command line as kong reads it.
type grammar struct {
	Run          runCommand          `cmd:"" group:"Serving:" help:"Run the proxy."`
	Deploy       deployCommand       `cmd:"" group:"Deploying:" help:"Bring targets into service, in place of those that a service has now."`
	Pause        pauseCommand        `cmd:"" group:"Traffic:" help:"Hold the requests of a service."`
	Stop         stopCommand         `cmd:"" group:"Traffic:" help:"Answer the requests of a service with 503."`
	Resume       resumeCommand       `cmd:"" group:"Traffic:" help:"Serve the requests of a service that was paused or stopped."`
	Rollout      rolloutCommand      `cmd:"" group:"Deploying:" help:"Send some visitors of a service to a second version of it."`
	Rollback     rollbackCommand     `cmd:"" group:"Deploying:" help:"Deploy again what a service had before."`
	Remove       removeCommand       `cmd:"" group:"Deploying:" aliases:"rm" help:"Take a service out of the proxy, when its requests are done."`
	Export       exportCommand       `cmd:"" group:"Deploying:" help:"Write what is deployed as JSON."`
	Apply        applyCommand        `cmd:"" group:"Deploying:" help:"Make services what a file says, all of them or none."`
	List         listCommand         `cmd:"" group:"Seeing what is there:" aliases:"ls" help:"List the services."`
	Status       statusCommand       `cmd:"" group:"Seeing what is there:" help:"Show how services are, and what goes on in them."`
	History      historyCommand      `cmd:"" group:"Seeing what is there:" help:"List what was deployed before, and how it did."`
	Logs         logsCommand         `cmd:"" group:"Seeing what is there:" help:"Print the last lines of the log, and follow it."`
	Certificates certificatesCommand `cmd:"" group:"Seeing what is there:" aliases:"certs" help:"List the certificates."`
	Fleet        fleetCommand        `cmd:"" group:"Seeing what is there:" help:"List the proxies that serve the same."`
	Upgrade      upgradeCommand      `cmd:"" group:"Serving:" help:"Replace the proxy that runs by another version of the program, without a client noticing."`
	Version      versionCommand      `cmd:"" group:"Other:" help:"Print the version."`
	Completion   completionCommand   `cmd:"" group:"Other:" help:"Print what completes command lines in a shell."`
	Help         helpCommand         `cmd:"" group:"Other:" help:"Show help for a command."`

	// These are called by the completion scripts and by make.
	Man     manCommand      `cmd:"" hidden:"" help:"Print the manual page."`
	Suggest completeCommand `cmd:"" name:"__complete" hidden:"" passthrough:"" help:"Say what may come next on a command line."`
}

const description = `A reverse proxy whose deploys cost nobody a request.

It is started with "run"; the other commands speak to it over its control socket. Their exit codes tell which version serves now: the new one (0), or what served before, because the proxy refused or took the new one back (1), the command line was not understood (2) or no proxy answered on the socket (5). 3 means that it is not decided yet, so that neither may be stopped. 4 means that a newer change of the service came first, and decides.`

// A program is the environment that the commands run in.
type program struct {
	stdout, stderr io.Writer
	environ        *environ
	paths          defaultPaths
	printer        *control.Printer // prints for --json; nil without that flag
	command        string           // the command that runs, such as "rollout set"
	program        handover.Program // how this one was started
	given          map[string]bool  // the flags that its line has, by name
	cleared        []string         // those of a deploy with --keep that take something away
	behind         []string         // the words behind "--" of a deploy with --pre-switch
	variables      []string         // the environment, as os.Environ has it
	progress       *progress        // of the change that runs; nil: there is none
}

// run runs one command line, which begins with the name that the program was called
// by, in an environment of the form of os.Environ, and returns its exit code. When ctx ends, the
// command stops as it does for SIGINT: a proxy finishes its requests first, a
// deploy is given up at once.
func run(ctx context.Context, args, variables []string, stdout, stderr io.Writer) int {
	environ := newEnviron(variables, args[0])
	p := &program{
		stdout:  stdout,
		stderr:  stderr,
		environ: environ,

		variables: variables,
		paths:     defaultPaths{uid: os.Getuid(), getenv: environ.getenv},
		program:   handover.ThisProgram(args, variables),
	}
	err := p.run(ctx, args[1:])
	if isBrokenPipe(err) {
		return exitDone
	}
	if err != nil {
		p.fail(err)
	}
	return exitCode(err)
}

// isBrokenPipe reports whether err means that the reader of the output has
// closed it. No change of a service fails because of that.
func isBrokenPipe(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file) && errors.Is(file, syscall.EPIPE)
}

// fail prints an error with its details, and what to do about it.
func (p *program) fail(err error) {
	err = flagError{err}
	// Errors of the library begin with that name already.
	message := strings.TrimPrefix(fmt.Sprintf("%+v", err), "parachute: ")
	fmt.Fprintf(p.stderr, "parachute: %s\n", printable(message))
	h, told := hint(err, p.command)
	if h != "" && !told {
		fmt.Fprintf(p.stderr, "  %s\n", strings.ReplaceAll(printable(h), "\n", "\n  "))
	}
	if p.printer != nil {
		p.printer.Error(err, clientErrorCode(err), h)
	}
}

func (p *program) run(ctx context.Context, args []string) error {
	command, err := p.parse(args)
	if err != nil || command == nil {
		return err
	}
	command.BindTo(ctx, (*context.Context)(nil))
	p.command = commandPath(command.Selected())
	p.given = make(map[string]bool)
	for _, step := range command.Path {
		if step.Flag != nil {
			p.given[step.Flag.Name] = true
		}
	}
	for _, w := range p.environ.warnings() {
		p.warnf("%s", w)
	}
	// Run would join the error with those of hooks, and so lose its %+v form.
	return command.RunNode(command.Selected(), p)
}

// parse reads a command line. If it asks for help, parse prints the help and
// returns no command.
func (p *program) parse(args []string) (*kong.Context, error) {
	helped := false
	parser, err := p.parser(func(int) { helped = true })
	if err != nil {
		return nil, err
	}
	if err := checkBooleans(parser.Model.Node, args); err != nil {
		return nil, err
	}
	args, p.behind = takeArgv(args)
	args, p.cleared = takeCleared(args)
	command, err := parser.Parse(args)
	if helped {
		return nil, nil
	}
	if err != nil {
		return nil, newUsageError(err)
	}
	return command, p.environ.checkNames(command.Selected())
}

// parser returns a parser of the grammar. The parser calls exit when it has
// printed help.
func (p *program) parser(exit func(int)) (*kong.Kong, error) {
	return kong.New(&grammar{},
		kong.Name("parachute"),
		kong.Description(description),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(exit),
		kong.Resolvers(p.environ),
		kong.Bind(p),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ValueFormatter(helpWithVariables),
		kong.Help(helpWithExamples),
	)
}

type helpCommand struct {
	Command []string `arg:"" optional:"" help:"The command to show help for; if not given, all commands are listed."`
}

func (helpCommand) Examples() string {
	return `
# All options of deploy, by subject.
parachute help deploy`
}

func (c *helpCommand) Run(p *program) error {
	_, err := p.parse(append(c.Command, "--help"))
	return err
}

// A usageError is a command line that was not understood.
type usageError struct {
	command string // "" if the command itself is not known
	err     error
}

func (e *usageError) Error() string {
	if e.command == "" {
		return e.err.Error()
	}
	return e.command + ": " + e.err.Error()
}

func (e *usageError) Unwrap() error { return e.err }

func newUsageError(err error) error {
	usage := &usageError{err: err}
	var parse *kong.ParseError
	if errors.As(err, &parse) {
		usage.err = askAboutTarget(explainFlagError(parse.Unwrap()), parse.Context)
		if node := parse.Context.Selected(); node != nil {
			usage.command = commandPath(node)
		}
	}
	return usage
}

// commandPath returns the full name of a command, such as "rollout set".
func commandPath(node *kong.Node) string {
	if node.Parent == nil || node.Parent.Type == kong.ApplicationNode {
		return node.Name
	}
	return commandPath(node.Parent) + " " + node.Name
}

// unexpectedTarget matches kong's error for an argument too many that may be meant as
// a target.
var unexpectedTarget = regexp.MustCompile(`^unexpected argument ([^\s,]+)`)

// askAboutTarget adds the flag to an error of kong for a target that was given without
// it.
func askAboutTarget(err error, in *kong.Context) error {
	m := unexpectedTarget.FindStringSubmatch(err.Error())
	if node := in.Selected(); m == nil || node == nil || !slices.ContainsFunc(node.Flags, func(f *kong.Flag) bool { return f.Name == "target" }) {
		return err
	}
	return fmt.Errorf("unexpected argument %s: did you mean --target %[1]s?", m[1])
}

// flagAsValue matches kong's error for a value that looks like a flag.
var flagAsValue = regexp.MustCompile(`^(--[a-z-]+): expected .* value but got "(.+)" \((?:short|long) flag\)`)

// explainFlagError adds to an error of kong how the flag is written correctly.
func explainFlagError(err error) error {
	if m := flagAsValue.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s: its value is missing; one that begins with '-' is written %[1]s=%s", m[1], m[2])
	}
	return err
}
