package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// losses counts what has failed for one reason.
type losses struct {
	all     int
	refused int // connections were
	reset   int // likewise
}

func (n *losses) count(f finding) {
	n.all++
	if f.stage == connecting {
		n.refused++
	}
	if isReset(f.err) {
		n.reset++
	}
}

// shown is how many failures of one kind are shown in full.
const shown = 20

// report writes what was done and what came of it, and reports whether nothing failed
// that must not.
func (s *soak) report(out io.Writer, took time.Duration, start, end gauges) (clean bool) {
	findings := s.ledger.judge()
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	s.keep(findings)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer table.Flush()

	fmt.Fprintf(table, "\nsoaked for %v with seed %d\n", took.Round(time.Second), s.seed)
	fmt.Fprintln(table, "\nwhat was done\ttimes")
	done := make(map[what]int)
	for _, d := range s.ledger.disturbances {
		done[d.kind]++
	}
	for _, kind := range slices.Sorted(maps.Keys(done)) {
		fmt.Fprintf(table, "%s\t%d\n", kind, done[kind])
	}

	fmt.Fprintln(table, "\nwhat clients did\tsent\tas it should be\tfailed")
	var all tally
	for _, kind := range slices.Sorted(maps.Keys(s.ledger.tallies)) {
		t := s.ledger.tallies[kind]
		all.sent, all.good = all.sent+t.sent, all.good+t.good
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\n", kind, t.sent, t.good, t.sent-t.good)
	}
	fmt.Fprintf(table, "in all\t%d\t%d\t%d\n", all.sent, all.good, all.sent-all.good)

	byClause := make(map[*clause]*losses)
	var faults []finding
	for _, f := range findings {
		if f.clause == nil {
			faults = append(faults, f)
		}
		if byClause[f.clause] == nil {
			byClause[f.clause] = new(losses)
		}
		byClause[f.clause].count(f)
	}
	fmt.Fprintln(table, "\nwhy they failed\ttimes\trefused\treset\tallowed by")
	for i := range contract {
		if c, n := &contract[i], byClause[&contract[i]]; n != nil {
			fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\n", c.cause, n.all, n.refused, n.reset, c.doc)
		}
	}
	none := cmp.Or(byClause[nil], new(losses))
	fmt.Fprintf(table, "for no reason that is allowed\t%d\t%d\t%d\tnothing\n", none.all, none.refused, none.reset)

	fmt.Fprintln(table, "\nhow long they waited for an answer\tat most\tof\twhile")
	for _, row := range []struct {
		name string
		stall
	}{{"longest stall", s.ledger.stall}, {"where nothing was done to it", s.ledger.calm}} {
		fmt.Fprintf(table, "%s\t%v\t%s %s [%s]\t%s\n", row.name, row.took.Round(time.Millisecond), row.of.service, row.of.kind, row.of.nonce, row.by)
	}

	fmt.Fprintln(table, "\nin the proxy\tat the start\tat the end")
	fmt.Fprintf(table, "goroutines\t%d\t%d\n", start.goroutines, end.goroutines)
	fmt.Fprintf(table, "descriptors\t%d\t%d\n", start.descriptors, end.descriptors)
	fmt.Fprintf(table, "memory\t%d MiB\t%d MiB\n", start.memory>>20, end.memory>>20)

	if len(faults) == 0 {
		fmt.Fprintln(table, "\nclean: nothing failed that must not")
		return true
	}
	fmt.Fprintf(table, "\n%d failed that must not:\n", len(faults))
	for _, f := range faults[:min(shown, len(faults))] {
		fmt.Fprintln(table, f.failure)
		for _, d := range s.ledger.disturbances {
			if (d.service == "" || d.service == f.service) && d.overlaps(f.began.Add(-time.Second), f.ended.Add(time.Second)) {
				fmt.Fprintf(table, "    %s", d.kind)
				if d.instance != nil {
					fmt.Fprintf(table, " %s", d.instance.name)
				}
				fmt.Fprintf(table, ", %v before it ended, for %v\n", f.ended.Sub(d.from).Round(time.Millisecond), d.lasted().Round(time.Millisecond))
			}
		}
	}
	if len(faults) > shown {
		fmt.Fprintf(table, "and %d more\n", len(faults)-shown)
	}
	return false
}

// keep writes all failures, and what they are put down to, to a file beside the logs.
func (s *soak) keep(findings []finding) {
	f, err := os.Create(filepath.Join(s.dir, "failures.log"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		return
	}
	defer f.Close()
	for _, found := range findings {
		cause := "nothing"
		if found.clause != nil {
			cause = found.clause.cause
		}
		fmt.Fprintf(f, "%s: %s\n", found.failure, cause)
	}
}
