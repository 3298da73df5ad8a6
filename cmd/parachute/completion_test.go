package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// One proxy and one bash are enough for all of it. What bash does with a word at
// '=' and ':' is what it does to COMP_WORDS.
func TestBashCompletesAllThatTheProgramSuggests(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash here")
	}
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	web := newApp(t, "web")
	for name, host := range map[string]string{"web": "a.example.com", "$(echo)": "b.example.com"} {
		is.Equal(inProcess(t, env, "deploy", name, "--target", web.address, "--host", host).wait(t), 0)
	}
	dir := t.TempDir()
	for _, name := range []string{"ca file.pem", "folder/cert.pem"} {
		is.NoErr(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		is.NoErr(os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	path, err := binary()
	is.NoErr(err)

	lines := []struct{ words, want string }{
		{"pau", "<pause>"},
		{"remove||", `<\$\(echo\)><web>`}, // nothing that bash would run
		{"remove|w", "<web>"},
		{"deploy|web|--target|web-1|:|3000|--hos", "<--host>"},
		{"run|--log-format|=|j", "<json>"},
		{"run|--log-format|=", "<json><text>"},
		{"deploy|web|--target-ca|=|c", "<ca file.pem>"},
		{"deploy|web|--target-ca|=", "<ca file.pem><folder>"},
		{"deploy|web|--error-pages||", "<folder>"},
		{"deploy|web|--target||", "<>"},
		{"nonsense||", "<>"},
	}
	var typed strings.Builder
	for _, line := range lines {
		typed.WriteString(line.words + "\n")
	}
	cmd := exec.Command(bash, "-c", `
eval "$("$0" completion bash)"
while IFS='|' read -r -a words; do
    COMP_WORDS=("$0" "${words[@]}") COMP_CWORD=${#words[@]}
    _parachute
    printf '<%s>\n' "${COMPREPLY[@]}" | LC_ALL=C sort | tr -d '\n'
    echo
done`, path)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PARACHUTE_SOCKET=" + env["PARACHUTE_SOCKET"]}
	cmd.Stdin = strings.NewReader(typed.String())
	out, err := cmd.CombinedOutput()
	is.NoErr(err)
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	is.Equal(len(got), len(lines)) // an answer to each, and no noise
	for i, line := range lines {
		if got[i] != line.want {
			t.Errorf("%s: %s, want %s", line.words, got[i], line.want)
		}
	}
}

func TestScriptsAreWellFormed(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("there is no %s here", shell)
			}
			is := is.New(t)
			printed := inProcess(t, nil, "completion", shell)
			is.Equal(printed.wait(t), 0)
			file := filepath.Join(t.TempDir(), "script")
			is.NoErr(os.WriteFile(file, []byte(printed.stdout.String()), 0o644))
			out, err := exec.Command(path, "-n", file).CombinedOutput()
			is.NoErr(err)
			is.Equal(string(out), "")
		})
	}
}

func TestNothingIsSuggestedAndNothingSaidWithoutAProxy(t *testing.T) {
	is := is.New(t)
	asked := inProcess(t, newEnvironment(t), "__complete", "fish", "remove", "")
	is.Equal(asked.wait(t), 0)
	is.Equal(asked.stdout.String(), "words\n")
	is.Equal(asked.stderr.String(), "")
}

func TestEachShellGetsSuggestionsInItsForm(t *testing.T) {
	for _, test := range []struct{ shell, words, want string }{
		{"fish", "rollout s", "words\nset\tSay which visitors go to the second version\nstatus\tShow both versions, and their requests of the last ten minutes\nstop\tTake the second version out of service, when its requests are done\n"},
		{"zsh", "rollout se", "words\nset:Say which visitors go to the second version\n"},
		{"zsh", "run --log-format=j", "words\n--log-format=json\n"},
		{"bash", "rollout se", "words\nset\n"},
		{"bash", "run --log-format = ", "words\n"}, // for a blank ends the word
		{"bash", "run --log-format =", "words\njson\ntext\n"},
		{"bash", "run --log-format=j", "words\n--log-format=json\n"}, // where = does not divide words
		{"bash", "deploy --target web-1 : 3000 , web-2 : 3000 --no-for", "words\n--no-force\n--no-forward-headers\n"},
		{"zsh", "deploy --target-ca ", "files\n"},
		{"zsh", "deploy --error-pages ", "folders\n"},
		{"zsh", "--socket", "words\n"},
	} {
		t.Run(test.shell+" "+test.words, func(t *testing.T) {
			is := is.New(t)
			asked := inProcess(t, newEnvironment(t), append([]string{"__complete", test.shell}, strings.Split(test.words, " ")...)...)
			is.Equal(asked.wait(t), 0)
			is.Equal(asked.stdout.String(), test.want)
			is.Equal(asked.stderr.String(), "")
		})
	}
}
