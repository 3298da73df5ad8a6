package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// fleetFlag is the flag of the commands that can show what all proxies of a fleet say.
type fleetFlag struct {
	Fleet bool `negatable:"" help:"Show what all proxies of the fleet say, what differs between them first. One that is not seen is named, and the command ends with 1."`
}

// A matter is something that proxies of a fleet speak of, such as a service.
type matter[T any] struct {
	name    string
	parties []party[T] // the largest first; the one that does not have it last
}

// A party is the proxies that say the same of a matter.
type party[T any] struct {
	proxies []string
	said    []T // by each of them; none: they do not have it
}

// mattersOf returns what proxies tell of: list returns what one does, name the matter that is,
// and facts what of it has to be the same for two proxies to be of one party. Matters of
// which proxies do not say the same come first; otherwise they are sorted by name.
func mattersOf[T any](told []control.Told, list func(control.Told) []T, name func(T) string, facts func(control.Told, T) any) []matter[T] {
	all := make(map[string]map[string]*party[T]) // by the name of the matter, and by the facts
	put := func(matter, facts string, proxy string, said ...T) {
		p := all[matter][facts]
		if p == nil {
			p = new(party[T])
			all[matter][facts] = p
		}
		p.proxies, p.said = append(p.proxies, proxy), append(p.said, said...)
	}
	for _, t := range told {
		for _, said := range list(t) {
			all[name(said)] = make(map[string]*party[T])
		}
	}
	for _, t := range told {
		if t.Error != "" {
			continue
		}
		has := make(map[string]bool)
		for _, said := range list(t) {
			text, err := json.Marshal(facts(t, said))
			if err != nil {
				panic(err) // it was read from JSON
			}
			has[name(said)] = true
			put(name(said), string(text), t.Name, said)
		}
		for matter := range all {
			if !has[matter] {
				put(matter, "", t.Name)
			}
		}
	}
	var matters []matter[T]
	for name, parties := range all {
		m := matter[T]{name: name}
		for _, p := range parties {
			m.parties = append(m.parties, *p)
		}
		slices.SortFunc(m.parties, func(a, b party[T]) int {
			return cmp.Or(-cmp.Compare(min(len(a.said), 1), min(len(b.said), 1)), -cmp.Compare(len(a.proxies), len(b.proxies)), cmp.Compare(a.proxies[0], b.proxies[0]))
		})
		matters = append(matters, m)
	}
	slices.SortFunc(matters, func(a, b matter[T]) int {
		return cmp.Or(-cmp.Compare(min(len(a.parties), 2), min(len(b.parties), 2)), strings.Compare(a.name, b.name))
	})
	return matters
}

// fleetAnswers are what the proxies of a fleet have told of themselves.
type fleetAnswers struct {
	told   []control.Told
	unseen []control.Told // those that have told nothing
}

func newFleetAnswers(told []control.Told) fleetAnswers {
	s := fleetAnswers{told: told}
	for _, t := range told {
		if t.Error != "" {
			s.unseen = append(s.unseen, t)
		}
	}
	return s
}

// cell names the proxies of a party.
func (s fleetAnswers) cell(proxies []string) cell {
	seen := len(s.told) - len(s.unseen)
	switch {
	case len(proxies) < seen || seen < 2:
		return listCell(proxies, ", ")
	case len(s.unseen) > 0:
		return unbreakable(fmt.Sprintf("all %d seen", seen))
	}
	return unbreakable(fmt.Sprintf("all %d", seen))
}

// write prints which proxies are not seen, and then text.
func (s fleetAnswers) write(p *program, text string) error {
	var out strings.Builder
	columns := p.displayOf(p.stdout).columns
	for _, t := range s.unseen {
		about := breakable(t.Name + " is not seen: " + t.Error)
		if columns == 0 {
			writeLines(&out, []string{about.text()})
		} else {
			writeLines(&out, about.lines(columns, 0))
		}
	}
	if len(s.unseen) > 0 && text != "" {
		out.WriteString("\n")
	}
	_, err := io.WriteString(p.stdout, out.String()+text)
	return err
}

// err returns that some proxies are not seen, or nil.
func (s fleetAnswers) err(command string) error {
	if len(s.unseen) == 0 {
		return nil
	}
	var names []string
	for _, t := range s.unseen {
		names = append(names, t.Name)
	}
	return &remoteError{fmt.Errorf("%s: %d of %d proxies of the fleet did not say what they have: %s", command, len(names), len(s.told), strings.Join(names, ", "))}
}
