package state_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
)

func TestUnusableFileIsSetAsideForTheOneBefore(t *testing.T) {
	for name, content := range map[string]string{
		"empty":           "",
		"truncated":       `{"version":1,"services":[{"service":"web"`,
		"not JSON":        "\x00\x01\x02",
		"more than one":   `{"version":1,"services":[]}{}`,
		"of another kind": `[1,2,3]`,
		"null":            `null`,
		"no version":      `{"services":[]}`,
		"no services":     `{"version":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			dir := t.TempDir()
			saved(t, dir, 1, 2)
			write(t, filepath.Join(dir, current), content)

			s := open(t, dir)
			got, warnings, err := s.Load()
			is.NoErr(err)
			is.Equal(got, []parachute.Status{deployed("web", 1)}) // the generation before is served
			is.Equal(len(warnings), 2)                            // and it is said
			is.True(strings.Contains(warnings[0], current))       // what cannot be used
			is.True(strings.Contains(warnings[1], previous))      // what is instead
			aside := asideOf(t, dir, current)
			is.Equal(len(aside), 1)
			is.Equal(read(t, aside[0]), content)                            // nothing of it is lost
			is.True(strings.Contains(warnings[0], filepath.Base(aside[0]))) // and its place is known

			is.NoErr(s.Save([]parachute.Status{deployed("web", 3)}))
			is.Equal(read(t, aside[0]), content)                                                // nor by a Save
			is.True(strings.Contains(read(t, filepath.Join(dir, previous)), `"generation": 1`)) // as little as what was used
		})
	}
}

// What a newer version of the program has deployed may not be served by less.
func TestFileOfANewerVersionIsRefusedAndLeftAsItIs(t *testing.T) {
	for name, content := range map[string]string{
		current:         `{"version":99,"services":{"web":{}}}`,
		"state.journal": line("parachute journal 3 of another kind"),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			dir := t.TempDir()
			saved(t, dir, 1, 2)
			write(t, filepath.Join(dir, name), content)
			before := names(t, dir)
			s := open(t, dir)
			_, _, err := s.Load()
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), name))                            // which file
			is.True(strings.Contains(err.Error(), "newer version of this program")) // why
			is.True(strings.Contains(err.Error(), "run that version"))              // what to do
			is.Equal(names(t, dir), before)                                         // nothing is set aside
			is.Equal(read(t, filepath.Join(dir, name)), content)
			_, err = openReadOnly(t, dir).Read()
			is.True(err != nil) // nor does Read take it
		})
	}
}

// asideOf returns the files that were set aside under new names.
func asideOf(t *testing.T, dir, name string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, name+".unreadable-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestFilesSetAsideDoNotReplaceEachOther(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	for i := range 5 {
		write(t, filepath.Join(dir, current), fmt.Sprint("garbled ", i))
		got, _ := load(t, dir)
		is.Equal(len(got), 0) // nothing is left
	}
	var contents []string
	for _, path := range asideOf(t, dir, current) {
		contents = append(contents, read(t, path))
	}
	slices.Sort(contents)
	is.Equal(contents, []string{"garbled 0", "garbled 1", "garbled 2", "garbled 3", "garbled 4"}) // all are kept
}

func TestBothFilesMayBeUnusable(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, current), "x")
	write(t, filepath.Join(dir, previous), "y")
	got, warnings := load(t, dir)
	is.Equal(len(got), 0)                             // a proxy without services
	is.Equal(strings.Count(warnings, "set aside"), 2) // that says why
	is.Equal(len(asideOf(t, dir, current)), 1)
	is.Equal(len(asideOf(t, dir, previous)), 1)
}

func TestMissingFileFallsBackToTheOneBefore(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	saved(t, dir, 1, 2)
	is.NoErr(os.Remove(filepath.Join(dir, current)))
	got, warnings := load(t, dir)
	is.Equal(got, []parachute.Status{deployed("web", 1)}) // it is served
	is.True(strings.Contains(warnings, previous))         // and said
}

func TestFilesThatAreNoneAreSetAsideUnread(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	for name, make := range map[string]func(path string) error{
		"symlink": func(path string) error { return os.Symlink(elsewhere, path) },
		"folder":  func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			dir := t.TempDir()
			saved(t, dir, 1, 2)
			write(t, elsewhere, read(t, filepath.Join(dir, current)))
			is.NoErr(os.Remove(filepath.Join(dir, current)))
			is.NoErr(make(filepath.Join(dir, current)))
			got, _ := load(t, dir)
			is.Equal(got[0].Generation, uint64(1))     // what it leads to is not read
			is.Equal(len(asideOf(t, dir, current)), 1) // it is out of the way
		})
	}
}

func TestServiceThatCannotBeReadLosesNoOther(t *testing.T) {
	const broken = `{"service":"shop","generation":5,"state":"serving","deployment":
		{"service":"shop","targets":["10.0.0.9:3000"],"hosts":["shop.example.com"],"timeouts":{"drain":"soon"}}}`
	for name, test := range map[string]struct {
		entry string
		want  *parachute.Status // what is returned in its place
	}{
		"a value that cannot be": {broken, &parachute.Status{Service: "shop", Generation: 5}},
		"a field that is not known": {
			strings.Replace(broken, `"timeouts":{"drain":"soon"}`, `"mirror":"yes"`, 1),
			&parachute.Status{Service: "shop", Generation: 5},
		},
		"a state of which it is not known": {
			strings.Replace(broken, `"timeouts":{"drain":"soon"}`, `"timeouts":{"mirror":"1s"}`, 1),
			&parachute.Status{Service: "shop", Generation: 5},
		},
		"no name":           {`{"generation":5}`, nil},
		"not even an entry": {`"shop"`, nil},
		"null":              {`null`, nil},
		"hosts of no kind":  {strings.Replace(broken, `["shop.example.com"]`, `7`, 1), nil},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			dir := t.TempDir()
			before := deployed("api", 3)
			after := deployed("web", 7)
			content := fmt.Sprintf(`{"version":1,"services":[%s,%s,%s]}`, marshal(t, before), test.entry, marshal(t, after))
			write(t, filepath.Join(dir, current), content)

			got, warnings := load(t, dir)
			want := []parachute.Status{before, after}
			if test.want != nil {
				is.Equal(len(got), 3)
				is.Equal(got[1].Service, test.want.Service)       // it keeps its name
				is.Equal(got[1].Generation, test.want.Generation) // and number
				is.Equal(got[1].State, parachute.StateFailed)     // is not served
				is.Equal(got[1].Deployment.Hosts, []string{"shop.example.com"})
				is.True(got[1].Error != "") // and says why
				is.True(strings.Contains(warnings, "shop"))
				want = slices.Insert(want, 1, got[1])
			}
			is.Equal(got, want) // the others are as they were
			aside := asideOf(t, dir, current)
			is.Equal(len(aside), 1)
			is.Equal(read(t, aside[0]), content)                         // nothing is lost
			is.True(strings.Contains(warnings, filepath.Base(aside[0]))) // and its place is known

			load(t, dir)
			is.Equal(len(asideOf(t, dir, current)), 1) // the next start does not keep it twice
		})
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func FuzzLoadLosesNothing(f *testing.F) {
	f.Add([]byte(`{"version":1,"services":[{"service":"web","generation":1,"state":"serving","deployment":{"service":"web","targets":["a:1"]}}]}`))
	f.Add([]byte(`{"version":1,"services":[null,{"service":"web"}]}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, current), string(data))
		s := open(t, dir)
		defer s.Close()
		services, warnings, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		for _, service := range services {
			if service.Service == "" || service.Live != nil {
				t.Fatalf("returned %+v", service)
			}
		}
		if err := s.Save(services); err != nil {
			t.Fatal(err)
		}
		if len(warnings) == 0 {
			return
		}
		aside := asideOf(t, dir, current)
		if len(aside) != 1 || read(t, aside[0]) != string(data) {
			t.Fatalf("%q is lost: %q", data, warnings)
		}
	})
}
