package main

import (
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// A suggestion is a word that a command line may go on with.
type suggestion struct{ word, help string }

// A suggestionKind says what the words are that may come next.
type suggestionKind string

const (
	kindWords   suggestionKind = "words" // those that are suggested, if any
	kindFiles   suggestionKind = "files"
	kindFolders suggestionKind = "folders"
)

// chooser is a type of value of which there are only a few.
type chooser interface{ choices() []string }

// A parsedLine is what is clear of a command line from the words in front of
// the one that is being typed.
type parsedLine struct {
	node       *kong.Node            // the command; nil: there is none of that name
	isHelp     bool                  // help is wanted for it
	flag       *kong.Flag            // whose value comes next; nil: none does
	given      map[*kong.Flag]string // values by flag
	arguments  int                   // how many there are
	flagsEnded bool                  // "--" was there, so that no flags come
}

func parseLine(app *kong.Node, words []string) *parsedLine {
	u := &parsedLine{node: app, given: make(map[*kong.Flag]string)}
	for _, word := range words {
		u.addWord(word)
	}
	return u
}

// addWord goes on by a word.
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

// enterCommand goes on to a command below.
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

// findFlag returns the flag of a name with its dashes, or nil.
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

// flagNames returns the names of a flag, with their dashes.
func flagNames(flag *kong.Flag) []suggestion {
	all := []suggestion{{"--" + flag.Name, firstClause(flag.Help)}}
	for _, alias := range flag.Aliases {
		all = append(all, suggestion{"--" + alias, firstClause(flag.Help)})
	}
	opposite := "The opposite of --" + flag.Name
	switch negation := flag.Tag.Negatable; negation {
	case "":
	case "_": // which is what kong makes of negatable:""
		all = append(all, suggestion{"--no-" + flag.Name, opposite})
	default:
		all = append(all, suggestion{"--" + negation, opposite})
	}
	return all
}

func takesNoValue(flag *kong.Flag) bool { return flag.IsBool() || flag.IsCounter() }

// suggest returns what word may become, and services are asked for where their
// names are. They are asked for with the socket that the command line names, or
// "" if it names none.
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

// newFlags returns the flags that are not there already, or may be there again.
func (u *parsedLine) newFlags() (all []suggestion) {
	for _, flag := range u.flags() {
		if _, given := u.given[flag]; !given || flag.Target.Kind() == reflect.Slice {
			all = append(all, flagNames(flag)...)
		}
	}
	return all
}

// socket returns the control socket that the command line names.
func (u *parsedLine) socket() string {
	for flag, value := range u.given {
		if flag.Name == "socket" {
			return value
		}
	}
	return ""
}

// commandsBelow returns the commands below a node. An alias says nothing new, so
// there is none in a list of everything.
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

// serviceSuggestions returns what services are called, but for what would be read as a flag.
func serviceSuggestions(services []string) (all []suggestion) {
	for _, name := range services {
		if !strings.HasPrefix(name, "-") {
			all = append(all, suggestion{name, "service"})
		}
	}
	return all
}

// valueSuggestions returns what a flag or an argument may be.
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

// withPrefix returns those suggestions that begin with a word.
func withPrefix(all []suggestion, word string) (some []suggestion) {
	for _, s := range all {
		if strings.HasPrefix(s.word, word) {
			some = append(some, s)
		}
	}
	return some
}

// firstClause returns the first of what a help text says, which is enough beside a
// word that is suggested.
func firstClause(help string) string {
	for i := range len(help) - 1 {
		if strings.ContainsRune(".:;", rune(help[i])) && help[i+1] == ' ' {
			return help[:i]
		}
	}
	return strings.TrimSuffix(help, ".")
}
