package main

import (
	"encoding"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/matryer/is"
)

func TestWhatMayComeNextIsSuggested(t *testing.T) {
	for _, test := range []struct {
		line string         // up to the cursor
		kind suggestionKind // words, if it is not given
		want string         // words, separated by blanks; with a "..." others may follow
	}{
		{line: "parachute ", want: "run deploy pause ..."},
		{line: "parachute de", want: "deploy"},
		{line: "parachute cert", want: "certificates certs"}, // an alias that is begun
		{line: "parachute __", want: ""},                     // what is hidden
		{line: "parachute nonsense ", want: ""},
		{line: "parachute nonsense --", want: ""},
		{line: "parachute rollout ", want: "deploy set status promote stop"},
		{line: "parachute rollout set ", want: "web shop"},
		{line: "parachute rollout set --pe", want: "--percent"},
		{line: "parachute help r", want: "run resume rollout rollback remove rm"},
		{line: "parachute help rollout ", want: "deploy set status promote stop"},
		{line: "parachute help deploy ", want: ""}, // and no services
		{line: "parachute --he", want: "--help"},
		{line: "parachute completion ", want: "bash zsh fish"},
		{line: "parachute completion bash ", want: ""},

		{line: "parachute remove ", want: "web shop"},
		{line: "parachute rm w", want: "web"},
		{line: "parachute remove web ", want: ""},
		{line: "parachute deploy s", want: "shop"},
		{line: "parachute deploy web --target ", want: ""},
		{line: "parachute deploy --target web-1:3000 ", want: "web shop"},
		{line: "parachute deploy --target=web-1:3000 ", want: "web shop"},
		{line: "parachute deploy --force ", want: "web shop"}, // for the flag takes no value
		{line: "parachute deploy --no-force ", want: "web shop"},
		{line: "parachute remove --unknown ", want: "web shop"},
		{line: "parachute remove --socket /run/other ", want: "other"},
		{line: "parachute remove --socket=/run/other ", want: "other"},
		{line: "parachute remove -- ", want: "web shop"},
		{line: "parachute remove -- -", want: ""}, // no flag comes behind --

		{line: "parachute deploy web --targ", want: "--target --target-keepalive --target-keepalive-requests --target-ca --target-server-name --target-insecure --target-timeout"},
		{line: "parachute deploy web --target a:1 --target-c", want: "--target-ca"},
		{line: "parachute deploy web --target a:1 --target", want: "--target ..."},                                                                   // may be repeated
		{line: "parachute deploy web --target-ca ca.pem --target-", want: "--target-keepalive --target-keepalive-requests --target-server-name ..."}, // may not
		{line: "parachute deploy web --forc", want: "--force"},
		{line: "parachute deploy web --no-f", want: "--no-force --no-forward-headers"},
		{line: "parachute deploy web --force=", want: "--force=true --force=false"},
		{line: "parachute deploy web --unknown=", want: ""},
		{line: "parachute run --no-access", want: "--no-access-log"},
		{line: "parachute run --access", want: "--access-log"}, // the negation has a name of its own

		{line: "parachute run --log-format ", want: "json text"},
		{line: "parachute run --log-format=t", want: "--log-format=text"},
		{line: "parachute run --tls-min-version ", want: "1.2 1.3"},
		{line: "parachute run --http-port ", want: ""},
		{line: "parachute run --http-port 80 --log-format ", want: "json text"},

		{line: "parachute deploy web --target-ca ", kind: kindFiles},
		{line: "parachute deploy web --target-ca=a", kind: kindFiles},
		{line: "parachute deploy web --path-prefix ", want: ""}, // which is no path of a file
		{line: "parachute remove web --socket ", kind: kindFiles},
		{line: "parachute deploy web --error-pages ", kind: kindFolders},
	} {
		t.Run(test.line, func(t *testing.T) {
			is := is.New(t)
			parser, err := kong.New(&grammar{})
			is.NoErr(err)
			words := strings.Split(test.line, " ")[1:]
			last := len(words) - 1
			kind, suggestions := parseLine(parser.Model.Node, words[:last]).suggest(words[last], func(socket string) []string {
				if socket == "/run/other" {
					return []string{"other"}
				}
				return []string{"web", "shop", "-dash"}
			})
			var got []string
			for _, s := range suggestions {
				got = append(got, s.word)
			}
			wanted := test.kind
			if wanted == "" {
				wanted = kindWords
			}
			is.Equal(kind, wanted)
			all := strings.Join(got, " ")
			if begin, open := strings.CutSuffix(test.want, "..."); open {
				is.True(strings.HasPrefix(all, begin)) // these come first
			} else {
				is.Equal(all, test.want)
			}
		})
	}
}

// Otherwise it would have to be known for each what a proxy has.
func TestServicesAreAskedForOnlyWhereOneIsNamed(t *testing.T) {
	is := is.New(t)
	parser, err := kong.New(&grammar{})
	is.NoErr(err)
	for node := range commands(t) {
		wants := len(node.Positional) > 0 && isService(node.Positional[0])
		asked := false
		parseLine(parser.Model.Node, strings.Fields(commandPath(node))).suggest("", func(string) []string {
			asked = true
			return nil
		})
		is.Equal(asked, wants)
	}
}

func TestEveryChoiceIsTaken(t *testing.T) {
	is := is.New(t)
	for _, flag := range []chooser{logFormat(""), tlsVersion(0)} {
		for _, choice := range flag.choices() {
			into := reflect.New(reflect.TypeOf(flag)).Interface().(encoding.TextUnmarshaler)
			is.NoErr(into.UnmarshalText([]byte(choice)))
		}
	}
}

func TestHelpBesideASuggestionIsItsFirstClause(t *testing.T) {
	is := is.New(t)
	is.Equal(firstClause("Path that is asked."), "Path that is asked")
	is.Equal(firstClause("Port to probe; if none is given, the target's own."), "Port to probe")
	is.Equal(firstClause("Such as 404.html, it is. Then more."), "Such as 404.html, it is")
	is.Equal(firstClause(""), "")
}
