package main

import (
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// A suggestion is a word that a command line may go on with.
type suggestion struct{ word, help string }

// A kind says what the words are that may come next.
type kind string

const (
	kindWords   kind = "words" // those that are suggested, if any
	kindFiles   kind = "files"
	kindFolders kind = "folders"
)

// chooser is a type of value of which there are only a few.
type chooser interface{ choices() []string }

// An understanding is what is clear of a command line from the words in front of
// the one that is being typed.
type understanding struct {
	node      *kong.Node            // the command; nil: there is none of that name
	help      bool                  // help is wanted for it
	flag      *kong.Flag            // whose value comes next; nil: none does
	given     map[*kong.Flag]string // values by flag
	arguments int                   // how many there are
	ended     bool                  // "--" was there, so that no flags come
}

func understand(app *kong.Node, words []string) *understanding {
	u := &understanding{node: app, given: make(map[*kong.Flag]string)}
	for _, word := range words {
		u.take(word)
	}
	return u
}

// take goes on by a word.
func (u *understanding) take(word string) {
	switch {
	case u.flag != nil:
		u.given[u.flag], u.flag = word, nil
	case u.node == nil:
	case word == "--" && !u.ended:
		u.ended = true
	case strings.HasPrefix(word, "-") && !u.ended:
		name, value, joined := strings.Cut(word, "=")
		switch flag := u.find(name); {
		case flag == nil:
		case joined || takesNone(flag):
			u.given[flag] = value
		default:
			u.flag = flag
		}
	case len(u.node.Children) > 0:
		u.enter(word)
	default:
		u.arguments++
	}
}

// enter goes on to a command below.
func (u *understanding) enter(word string) {
	for _, child := range u.node.Children {
		for _, name := range append([]string{child.Name}, child.Aliases...) {
			switch {
			case name != word || child.Hidden:
			case child.Target.Type() == reflect.TypeFor[helpCommand]():
				u.help = true // its arguments are commands
				return
			default:
				u.node = child
				return
			}
		}
	}
	u.node = nil
}

// find returns the flag of a name with its dashes, or nil.
func (u *understanding) find(name string) *kong.Flag {
	for _, flag := range u.flags() {
		for _, s := range spellings(flag) {
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

func (u *understanding) flags() (all []*kong.Flag) {
	for _, level := range u.node.AllFlags(true) {
		all = append(all, level...)
	}
	return all
}

// spellings returns the names of a flag, with their dashes.
func spellings(flag *kong.Flag) []suggestion {
	all := []suggestion{{"--" + flag.Name, clause(flag.Help)}}
	for _, alias := range flag.Aliases {
		all = append(all, suggestion{"--" + alias, clause(flag.Help)})
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

func takesNone(flag *kong.Flag) bool { return flag.IsBool() || flag.IsCounter() }

// suggest returns what word may become, and services are asked for where their
// names are. They are asked for with the socket that the command line names, or
// "" if it names none.
func (u *understanding) suggest(word string, services func(socket string) []string) (kind, []suggestion) {
	if u.node == nil {
		return kindWords, nil
	}
	kind, all := kindWords, []suggestion(nil)
	name, _, joined := strings.Cut(word, "=")
	switch {
	case u.flag != nil:
		kind, all = values(u.flag.Value)
	case strings.HasPrefix(word, "-") && !u.ended && joined:
		if flag := u.find(name); flag != nil {
			kind, all = values(flag.Value)
		}
		for i := range all {
			all[i].word = name + "=" + all[i].word
		}
	case strings.HasPrefix(word, "-") && !u.ended:
		all = u.newFlags()
	case len(u.node.Children) > 0:
		all = children(u.node, word != "")
	case u.help:
	case u.arguments < len(u.node.Positional):
		if argument := u.node.Positional[u.arguments]; isService(argument) {
			all = namesOf(services(u.socket()))
		} else {
			kind, all = values(argument)
		}
	}
	return kind, beginning(all, word)
}

// newFlags returns the flags that are not there already, or may be there again.
func (u *understanding) newFlags() (all []suggestion) {
	for _, flag := range u.flags() {
		if _, given := u.given[flag]; !given || flag.Target.Kind() == reflect.Slice {
			all = append(all, spellings(flag)...)
		}
	}
	return all
}

// socket returns the control socket that the command line names.
func (u *understanding) socket() string {
	for flag, value := range u.given {
		if flag.Name == "socket" {
			return value
		}
	}
	return ""
}

// children returns the commands below a node. An alias says nothing new, so
// there is none in a list of everything.
func children(node *kong.Node, aliases bool) (all []suggestion) {
	for _, child := range node.Children {
		if child.Hidden {
			continue
		}
		all = append(all, suggestion{child.Name, clause(child.Help)})
		for _, alias := range child.Aliases {
			if aliases {
				all = append(all, suggestion{alias, clause(child.Help)})
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

// namesOf returns what services are called, but for what would be read as a flag.
func namesOf(services []string) (all []suggestion) {
	for _, name := range services {
		if !strings.HasPrefix(name, "-") {
			all = append(all, suggestion{name, "service"})
		}
	}
	return all
}

// values returns what a flag or an argument may be.
func values(v *kong.Value) (kind, []suggestion) {
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

// beginning returns those suggestions that begin with a word.
func beginning(all []suggestion, word string) (some []suggestion) {
	for _, s := range all {
		if strings.HasPrefix(s.word, word) {
			some = append(some, s)
		}
	}
	return some
}

// clause returns the first of what a help text says, which is enough beside a
// word that is suggested.
func clause(help string) string {
	for i := range len(help) - 1 {
		if strings.ContainsRune(".:;", rune(help[i])) && help[i+1] == ' ' {
			return help[:i]
		}
	}
	return strings.TrimSuffix(help, ".")
}
