package state_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// The journal of a data directory.
const (
	journal         = "state.journal"
	previousJournal = "state.previous.journal"
)

// line returns a line of a journal.
func line(content string) string {
	return fmt.Sprintf("%08x %s\n", crc32.Checksum([]byte(content), crc32.MakeTable(crc32.Castagnoli)), content)
}

// large is the name of a service that makes a state too large to be written anew
// with each change.
const large = "large"

func largeService() parachute.Status {
	s := deployed(large, 1)
	s.Deployment.Headers.Response = []string{"set X-Padding: " + strings.Repeat("x", 80<<10)}
	return s
}

// A proxy is one whose services are kept in a Store.
type proxy struct {
	store    *state.Store
	services map[string]parachute.Status
}

// begin returns a proxy with the large service and web, which both were saved.
func begin(t *testing.T, dir string) *proxy {
	t.Helper()
	p := &proxy{open(t, dir), make(map[string]parachute.Status)}
	if _, _, err := p.store.Load(); err != nil {
		t.Fatal(err)
	}
	if err := p.change([]parachute.Status{largeService(), deployed("web", 2)}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *proxy) all() []parachute.Status {
	var all []parachute.Status
	for _, name := range slices.Sorted(maps.Keys(p.services)) {
		all = append(all, p.services[name])
	}
	return all
}

// change commits what is changed and removed, and has it if that succeeds.
func (p *proxy) change(changed []parachute.Status, removed ...string) error {
	next := &proxy{services: make(map[string]parachute.Status)}
	for name, s := range p.services {
		next.services[name] = s
	}
	for _, name := range removed {
		delete(next.services, name)
	}
	for _, s := range changed {
		next.services[s.Service] = s
	}
	err := p.store.Commit(parachute.Delta{Changed: changed, Removed: removed, All: slices.Values(next.all())})
	if err == nil {
		p.services = next.services
	}
	return err
}

// loadSorted returns what a process finds that starts with the directory, by name.
func loadSorted(t *testing.T, dir string) (services []parachute.Status, warnings string) {
	t.Helper()
	services, warnings = load(t, dir)
	sortByName(services)
	return services, warnings
}

func sortByName(services []parachute.Status) {
	slices.SortFunc(services, func(a, b parachute.Status) int { return strings.Compare(a.Service, b.Service) })
}

func TestChangeWritesWhatItChanges(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	p := begin(t, dir)
	before := read(t, filepath.Join(dir, current))
	is.NoErr(p.change([]parachute.Status{deployed("web", 3)}))
	is.NoErr(p.change([]parachute.Status{deployed("api", 4), deployed("shop", 4)}))
	is.NoErr(p.change(nil, "web"))
	after := read(t, filepath.Join(dir, current))
	is.Equal(strings.Replace(after, `"version": 2`, `"version": 1`, 1), before) // it was not written anew
	is.Equal(strings.Count(read(t, filepath.Join(dir, journal)), "\n"), 4)      // the header, and a line for each change
	is.True(len(read(t, filepath.Join(dir, journal))) < 8<<10)
	is.NoErr(p.store.Close())
	got, warnings := loadSorted(t, dir)
	is.Equal(got, p.all())
	is.Equal(warnings, "")
	is.Equal(names(t, dir), []string{"lock", journal, current}) // sorted: state.journal is before state.json
}

// A change is there as a whole or not at all, wherever the process was stopped.
func TestJournalThatIsCutAnywhereHasTheStateBeforeOrAfter(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	p := begin(t, dir)
	states := [][]parachute.Status{p.all()}
	for _, c := range []struct {
		changed []parachute.Status
		removed []string
	}{
		{[]parachute.Status{deployed("web", 3), deployed("api", 3)}, nil},
		{[]parachute.Status{deployed("shop", 4)}, []string{"web", "api"}}, // all at once
		{nil, []string{"shop"}},
	} {
		is.NoErr(p.change(c.changed, c.removed...))
		states = append(states, p.all())
	}
	is.NoErr(p.store.Close())
	snapshot, whole := read(t, filepath.Join(dir, current)), read(t, filepath.Join(dir, journal))

	scratch := t.TempDir()
	at := 0
	for cut := range len(whole) + 1 {
		write(t, filepath.Join(scratch, current), snapshot)
		write(t, filepath.Join(scratch, journal), whole[:cut])
		if cut > 0 && whole[cut-1] == '\n' && strings.Count(whole[:cut], "\n") > 1 {
			at++
		}
		s := openReadOnly(t, scratch)
		got, err := s.Read()
		is.NoErr(err)
		sortByName(got)
		is.Equal(got, states[at])
	}
	is.Equal(at, len(states)-1)
}

func TestChangesGoOnBehindAJournalThatWasCut(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	p := begin(t, dir)
	is.NoErr(p.change([]parachute.Status{deployed("web", 3)}))
	is.NoErr(p.store.Close())
	whole := read(t, filepath.Join(dir, journal))
	base := p.services
	for _, cut := range []int{5, len(whole) - 1, strings.Index(whole, "\n") + 1, len(whole)} {
		write(t, filepath.Join(dir, journal), whole[:cut])
		p.store, p.services = open(t, dir), base
		_, warnings, err := p.store.Load()
		is.NoErr(err)
		is.Equal(len(warnings), 0) // that is how a process may end
		is.NoErr(p.change([]parachute.Status{deployed("api", 5)}))
		is.NoErr(p.store.Close())
		got, said := loadSorted(t, dir)
		is.Equal(said, "")
		is.Equal(got[0], deployed("api", 5))
		is.True(got[2].Generation == 2 || cut == len(whole)) // what was cut is not there
	}
}

// Each call of the system may fail, once or from then on: the change is refused, and
// what is on disk, and what later changes make of it, is as if it had never been.
func TestEachFailingCallLeavesTheStateBefore(t *testing.T) {
	broken := errors.New("input/output error")
	for _, forever := range []bool{false, true} {
		for failing := range 40 {
			t.Run(fmt.Sprintf("call %d forever %v", failing, forever), func(t *testing.T) {
				is := is.New(t)
				dir := t.TempDir()
				p := begin(t, dir)
				calls := 0
				p.store.SetFault(func(string) error {
					calls++
					if calls-1 == failing || forever && calls-1 > failing {
						return broken
					}
					return nil
				})
				refused := 0
				for g := range uint64(4) {
					if err := p.change([]parachute.Status{deployed("web", 10+g), deployed("api", 10+g)}); err != nil {
						is.True(errors.Is(err, broken))
						refused++
					}
					got, err := openReadOnly(t, dir).Read() // as if it were killed now
					is.NoErr(err)
					sortByName(got)
					if forever && len(got) == 3 && refused > 0 {
						continue // what can neither be synced nor taken back may be there
					}
					is.Equal(got, p.all())
				}
				if calls <= failing {
					is.Equal(refused, 0) // nothing failed
					return
				}
				p.store.SetFault(func(string) error { return nil })
				is.NoErr(p.change([]parachute.Status{deployed("shop", 20)})) // it is mended
				is.NoErr(p.store.Close())
				got, warnings := loadSorted(t, dir)
				is.Equal(got, p.all())
				is.Equal(warnings, "")
			})
		}
	}
}

// fold changes the large service until the journal is folded, and waits for that.
func (p *proxy) fold(t *testing.T, dir string) {
	t.Helper()
	for g := uint64(1); ; g++ {
		s := largeService()
		s.Generation = 1000 + g
		if err := p.change([]parachute.Status{s}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, previousJournal)); err == nil {
			break
		}
		if g > 100 {
			t.Fatal("it is never folded")
		}
	}
	p.store.AwaitFold()
}

func TestJournalIsFoldedWhileChangesGoOn(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	p := begin(t, dir)
	p.fold(t, dir)
	_, err := os.Lstat(filepath.Join(dir, journal))
	is.True(errors.Is(err, fs.ErrNotExist)) // nothing has changed since
	is.NoErr(p.change([]parachute.Status{deployed("web", 7)}))
	is.NoErr(p.store.Close())
	is.Equal(names(t, dir), []string{"lock", journal, current, previousJournal, previous})
	got, warnings := loadSorted(t, dir)
	is.Equal(got, p.all())
	is.Equal(warnings, "")

	for _, lost := range []string{previousJournal, previous} { // which are there for an emergency alone
		is.NoErr(os.Rename(filepath.Join(dir, lost), filepath.Join(dir, "kept")))
		got, warnings = loadSorted(t, dir)
		is.Equal(got, p.all())
		is.Equal(warnings, "")
		is.NoErr(os.Rename(filepath.Join(dir, "kept"), filepath.Join(dir, lost)))
	}
	write(t, filepath.Join(dir, current), "{")
	got, warnings = loadSorted(t, dir)
	is.Equal(got, p.all()) // the file before has it all, with both journals
	is.True(strings.Contains(warnings, previous))
}

// A process may be stopped at any point of a fold.
func TestFoldThatWasNotFinishedHasLostNothing(t *testing.T) {
	for failing := range 12 {
		t.Run(fmt.Sprint("call ", failing), func(t *testing.T) {
			is := is.New(t)
			dir := t.TempDir()
			p := begin(t, dir)
			var warnings []string
			p.store.Warn = func(s string) { warnings = append(warnings, s) }
			isFolding, refused, calls := false, false, 0
			p.store.SetFault(func(call string) error {
				isFolding = isFolding || call == "rename" // the journal is put aside
				if isFolding {
					calls++
				}
				if isFolding && calls > failing {
					return errors.New("input/output error")
				}
				return nil
			})
			for g := uint64(1); calls <= failing && g < 20 && !refused; g++ {
				s := largeService()
				s.Generation = 1000 + g
				refused = p.change([]parachute.Status{s}) != nil
				p.store.AwaitFold()
			}
			got, err := openReadOnly(t, dir).Read() // it is killed
			is.NoErr(err)
			sortByName(got)
			if !refused { // what can neither be synced nor taken back may be there
				is.Equal(got, p.all())
			}
			is.Equal(got[1], deployed("web", 2))

			p.store.SetFault(func(string) error { return nil })
			p.fold(t, dir) // it goes on
			is.NoErr(p.change([]parachute.Status{deployed("web", 7)}))
			is.NoErr(p.store.Close())
			got, said := loadSorted(t, dir)
			is.Equal(got, p.all())
			is.Equal(said, "")
		})
	}
}

func TestLastChangeHasAllInOneFileForAnOlderVersion(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	p := begin(t, dir)
	is.NoErr(p.change([]parachute.Status{deployed("web", 3)}))
	is.True(strings.Contains(read(t, filepath.Join(dir, current)), `"version": 2`)) // it is not all there is
	is.NoErr(p.change(nil))                                                         // the process ends
	is.NoErr(p.store.Close())
	is.True(strings.Contains(read(t, filepath.Join(dir, current)), `"version": 1`))
	is.NoErr(os.Remove(filepath.Join(dir, journal)))
	got, warnings := loadSorted(t, dir)
	is.Equal(got, p.all())
	is.Equal(warnings, "")

	p.store = open(t, dir)
	_, _, err := p.store.Load()
	is.NoErr(err)
	is.NoErr(p.change([]parachute.Status{deployed("web", 4)}))
	is.NoErr(p.store.Close())
	is.True(strings.Contains(read(t, filepath.Join(dir, current)), `"version": 2`))
	got, _ = loadSorted(t, dir)
	is.Equal(got, p.all())
}

func TestStateOfAnOlderVersionIsReadOnceAndKept(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	content := fmt.Sprintf(`{"version":1,"services":[%s]}`, marshal(t, deployed("web", 7)))
	write(t, filepath.Join(dir, current), content)
	for g := uint64(8); g < 12; g++ {
		s := open(t, dir)
		got, warnings, err := s.Load()
		is.NoErr(err)
		is.Equal(len(warnings), 0)
		is.Equal(got[0].Generation, g-1)
		p := &proxy{s, make(map[string]parachute.Status)}
		is.NoErr(p.change([]parachute.Status{deployed("web", g)}))
		is.NoErr(s.Close())
	}
	kept, err := filepath.Glob(filepath.Join(dir, current+".before-upgrade-*"))
	is.NoErr(err)
	is.Equal(len(kept), 1)
	is.Equal(read(t, kept[0]), content)
}

// An older version of the program has changed the state without a word to the journal.
func TestJournalOfAnotherStateIsSetAside(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	p := begin(t, dir)
	is.NoErr(p.change([]parachute.Status{deployed("api", 3)}))
	is.NoErr(p.store.Close())
	lost := read(t, filepath.Join(dir, journal))
	write(t, filepath.Join(dir, current), fmt.Sprintf(`{"version":1,"services":[%s]}`, marshal(t, deployed("web", 7))))
	got, warnings := load(t, dir)
	is.Equal(got, []parachute.Status{deployed("web", 7)})
	is.True(strings.Contains(warnings, journal))
	aside := asideOf(t, dir, journal)
	is.Equal(len(aside), 1)
	is.Equal(read(t, aside[0]), lost)
	got, warnings = load(t, dir)
	is.Equal(got, []parachute.Status{deployed("web", 7)})
	is.Equal(warnings, "")
}

func TestDamagedChangeLosesNoOther(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	p := begin(t, dir)
	is.NoErr(p.change([]parachute.Status{deployed("api", 3)}))
	is.NoErr(p.change([]parachute.Status{deployed("web", 4)}))
	is.NoErr(p.change([]parachute.Status{deployed("shop", 5)}))
	is.NoErr(p.store.Close())
	damaged := strings.Replace(read(t, filepath.Join(dir, journal)), `"generation":4`, `"generation":9`, 1)
	write(t, filepath.Join(dir, journal), damaged)
	got, warnings := loadSorted(t, dir)
	is.Equal(len(got), 4)
	is.Equal(got[3], deployed("web", 2)) // as it was before
	is.Equal(got[0], deployed("api", 3))
	is.Equal(got[2], deployed("shop", 5))
	is.True(strings.Contains(warnings, journal+": 1 changes cannot be read"))
	is.Equal(read(t, asideOf(t, dir, journal)[0]), damaged)
	_, err := openReadOnly(t, dir).Read()
	is.True(err != nil) // it is not all there
}

func TestReaderThatTakesOverGoesOnWithTheJournal(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	old := begin(t, dir)
	is.NoErr(old.change([]parachute.Status{deployed("web", 3)}))
	next := &proxy{openReadOnly(t, dir), maps.Clone(old.services)}
	_, err := next.store.Read()
	is.NoErr(err)
	is.NoErr(old.store.Release())
	is.NoErr(next.store.TakeOver())
	before := read(t, filepath.Join(dir, current))
	is.NoErr(next.change([]parachute.Status{deployed("web", 4)}))
	is.Equal(read(t, filepath.Join(dir, current)), before) // only what has changed was written
	is.NoErr(next.store.Close())                           // it dies
	is.NoErr(old.store.TakeOver())
	is.NoErr(old.change([]parachute.Status{deployed("api", 4)})) // it does not know of the change
	is.NoErr(old.store.Close())
	got, warnings := loadSorted(t, dir)
	is.Equal(got, old.all())
	is.Equal(warnings, "")
}
