package main

import (
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// A suggestion is a word that may come next on a command line.
type suggestion struct{ word, help string }

// A suggestionKind says what the shell completes with.
type suggestionKind string

const (
	kindWords   suggestionKind = "words" // the suggestions, if any
	kindFiles   suggestionKind = "files"
	kindFolders suggestionKind = "folders"
)

// A chooser is a flag type with a fixed set of values.
type chooser interface{ choices() []string }

// A parsedLine is the part of a command line before the word that is being
// typed.
type parsedLine struct {
	node       *kong.Node            // the command; nil if it is unknown
	isHelp     bool                  // the command is help
	flag       *kong.Flag            // the flag whose value comes next, if any
	given      map[*kong.Flag]string // values by flag
	arguments  int                   // number of arguments
	flagsEnded bool                  // after "--", there are no more flags
}

func parseLine(app *kong.Node, words []string) *parsedLine {
	u := &parsedLine{node: app, given: make(map[*kong.Flag]string)}
	for _, word := range words {
		u.addWord(word)
	}
	return u
}

// addWord parses the next word.
func (u *parsedLine) addWord(word string) {
	switch {
	case u.flag != nil:
		u.given[u.flag], u.flag = word, nil
	case u.node == nil:
	case word == "--" && !u.flagsEnded:
		u.flagsEnded = true
	case strings.HasPrefix(word, "-") && !u.flagsEnded:
		name, value, joined := strings.Cut(word, "=")
		switch flag := u.findFlag(name); {
		case flag == nil:
		case joined || takesNoValue(flag):
			u.given[flag] = value
		default:
			u.flag = flag
		}
	case len(u.node.Children) > 0:
		u.enterCommand(word)
	default:
		u.arguments++
	}
}

// enterCommand moves to the subcommand of that name.
func (u *parsedLine) enterCommand(word string) {
	for _, child := range u.node.Children {
		for _, name := range append([]string{child.Name}, child.Aliases...) {
			switch {
			case name != word || child.Hidden:
			case child.Target.Type() == reflect.TypeFor[helpCommand]():
				u.isHelp = true // its arguments are commands
				return
			default:
				u.node = child
				return
			}
		}
	}
	u.node = nil
}

// findFlag returns the flag with that name, which includes its dashes, or nil.
func (u *parsedLine) findFlag(name string) *kong.Flag {
	for _, flag := range u.flags() {
		for _, s := range flagNames(flag) {
			if s.word == name {
				return flag
			}
		}
		if flag.Short != 0 && name == "-"+string(flag.Short) {
			return flag
		}
	}
	return nil
}

func (u *parsedLine) flags() (all []*kong.Flag) {
	for _, level := range u.node.AllFlags(true) {
		all = append(all, level...)
	}
	return all
}

// flagNames returns the long names of a flag, with their dashes.
func flagNames(flag *kong.Flag) []suggestion {
	all := []suggestion{{"--" + flag.Name, firstClause(flag.Help)}}
	for _, alias := range flag.Aliases {
		all = append(all, suggestion{"--" + alias, firstClause(flag.Help)})
	}
	opposite := "The opposite of --" + flag.Name
	switch negation := flag.Tag.Negatable; negation {
	case "":
	case "_": // kong stores negatable:"" so
		all = append(all, suggestion{"--no-" + flag.Name, opposite})
	default:
		all = append(all, suggestion{"--" + negation, opposite})
	}
	return all
}

func takesNoValue(flag *kong.Flag) bool { return flag.IsBool() || flag.IsCounter() }

// suggest returns the completions of word. It calls services for the names of
// services, with the socket that the command line names, or "".
func (u *parsedLine) suggest(word string, services func(socket string) []string) (suggestionKind, []suggestion) {
	if u.node == nil {
		return kindWords, nil
	}
	kind, all := kindWords, []suggestion(nil)
	name, _, joined := strings.Cut(word, "=")
	switch {
	case u.flag != nil:
		kind, all = valueSuggestions(u.flag.Value)
	case strings.HasPrefix(word, "-") && !u.flagsEnded && joined:
		if flag := u.findFlag(name); flag != nil {
			kind, all = valueSuggestions(flag.Value)
		}
		for i := range all {
			all[i].word = name + "=" + all[i].word
		}
	case strings.HasPrefix(word, "-") && !u.flagsEnded:
		all = u.newFlags()
	case len(u.node.Children) > 0:
		all = commandsBelow(u.node, word != "")
	case u.isHelp:
	case u.arguments < len(u.node.Positional):
		if argument := u.node.Positional[u.arguments]; isService(argument) {
			all = serviceSuggestions(services(u.socket()))
		} else {
			kind, all = valueSuggestions(argument)
		}
	}
	return kind, withPrefix(all, word)
}

// newFlags returns the flags that may still be added: those that are not given
// yet, and those that may be repeated.
func (u *parsedLine) newFlags() (all []suggestion) {
	for _, flag := range u.flags() {
		if _, given := u.given[flag]; !given || flag.Target.Kind() == reflect.Slice {
			all = append(all, flagNames(flag)...)
		}
	}
	return all
}

// socket returns the control socket that the command line names, or "".
func (u *parsedLine) socket() string {
	for flag, value := range u.given {
		if flag.Name == "socket" {
			return value
		}
	}
	return ""
}

// commandsBelow returns the subcommands of a node, with their aliases if they
// are asked for.
func commandsBelow(node *kong.Node, aliases bool) (all []suggestion) {
	for _, child := range node.Children {
		if child.Hidden {
			continue
		}
		all = append(all, suggestion{child.Name, firstClause(child.Help)})
		for _, alias := range child.Aliases {
			if aliases {
				all = append(all, suggestion{alias, firstClause(child.Help)})
			}
		}
	}
	return all
}

// isService reports whether an argument is the name of a service.
func isService(argument *kong.Positional) bool {
	name, _, _ := strings.Cut(argument.Name, "|")
	return name == "service"
}

// serviceSuggestions returns the names of services, except those that would be
// read as flags.
func serviceSuggestions(services []string) (all []suggestion) {
	for _, name := range services {
		if !strings.HasPrefix(name, "-") {
			all = append(all, suggestion{name, "service"})
		}
	}
	return all
}

// valueSuggestions returns the possible values of a flag or an argument.
func valueSuggestions(v *kong.Value) (suggestionKind, []suggestion) {
	var words []string
	switch few, ok := v.Target.Interface().(chooser); {
	case ok:
		words = few.choices()
	case v.Enum != "":
		words = v.EnumSlice()
	case v.IsBool():
		words = []string{"true", "false"}
	}
	var all []suggestion
	for _, word := range words {
		all = append(all, suggestion{word: word})
	}
	switch v.Tag.PlaceHolder {
	case "FILE", "PATH":
		return kindFiles, all
	case "FOLDER", "DIR":
		return kindFolders, all
	}
	return kindWords, all
}

// withPrefix returns the suggestions that begin with word.
func withPrefix(all []suggestion, word string) (some []suggestion) {
	for _, s := range all {
		if strings.HasPrefix(s.word, word) {
			some = append(some, s)
		}
	}
	return some
}

// firstClause returns the first clause of a help text, as the short description
// of a suggestion.
func firstClause(help string) string {
	for i := range len(help) - 1 {
		if strings.ContainsRune(".:;", rune(help[i])) && help[i+1] == ' ' {
			return help[:i]
		}
	}
	return strings.TrimSuffix(help, ".")
}
