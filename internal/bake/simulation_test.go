package bake_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

var simulate = flag.Bool("simulate", false, "compare the figures in docs/safe-deploys.md with a simulation, which takes a minute")

// The figures are the same in each run, until something about the judgement changes. Then
// this prints those that belong into the document.
func TestFiguresInTheDocumentAreThoseOfASimulation(t *testing.T) {
	if !*simulate {
		t.Skip("it takes a minute: go test ./internal/bake -run Simulation -simulate")
	}
	document, err := os.ReadFile("../../docs/safe-deploys.md")
	if err != nil {
		t.Fatal(err)
	}
	has := make(map[string]bool)
	for line := range strings.Lines(string(document)) {
		has[cellsOf(line)] = true
	}
	for _, row := range append(falseAlarms(), requestsUntilSeen()...) {
		if !has[cellsOf(row)] {
			t.Errorf("docs/safe-deploys.md lacks\n%s", row)
		}
	}
}

// cellsOf returns a row of a table without the blanks that only align it.
func cellsOf(row string) string {
	var cells []string
	for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(row), "|"), "|") {
		cells = append(cells, strings.TrimSpace(cell))
	}
	return strings.Join(cells, "|")
}

// falseAlarms returns rows of how many of 1,000 bakes of two equal versions are alarms.
func falseAlarms() (rows []string) {
	for _, tt := range []struct {
		name        string
		rate, burst float64
		drift       float64
	}{
		{"0 %", 0, 1, 1},
		{"0.5 %", 0.005, 1, 1},
		{"0.5 %, bursts, doubled", 0.005, 5, 2},
		{"5 %", 0.05, 1, 1},
		{"5 %, bursts", 0.05, 5, 1},
		{"5 %, bursts, doubled", 0.05, 5, 2},
	} {
		row := "| " + tt.name
		for _, requests := range []int{10, 100, 1000, 10_000} {
			runs := 20_000
			if requests == 10_000 {
				runs = 2000
			}
			s := &traffic{random: rand.New(rand.NewPCG(uint64(requests), uint64(len(rows)))), burst: tt.burst}
			alarms := 0
			for range runs {
				if bakes(s, requests, requests, tt.rate, tt.rate, tt.rate*tt.drift) > 0 {
					alarms++
				}
			}
			row += fmt.Sprintf(" | %v", 1000*float64(alarms)/float64(runs))
		}
		rows = append(rows, row+" |")
	}
	return rows
}

// requestsUntilSeen returns rows of how many requests it takes on average to see that a
// version is worse, by how much it is.
func requestsUntilSeen() (rows []string) {
	for _, tt := range []struct {
		name     string
		requests int
		rate     float64
	}{
		{"10 requests, 0 % errors", 10, 0},
		{"1,000 requests, 0 %", 1000, 0},
		{"10,000 requests, 0 %", 10_000, 0},
		{"10,000 requests, 0.5 %", 10_000, 0.005},
		{"1,000 requests, 5 %", 1000, 0.05},
		{"10,000 requests, 5 %", 10_000, 0.05},
	} {
		row := "| " + tt.name
		for i, more := range []float64{0.01, 0.05, 0.2, 0.5, 1} {
			const runs = 200
			s := &traffic{random: rand.New(rand.NewPCG(uint64(i), uint64(len(rows))))}
			sum, seen := 0, 0
			for range runs {
				rate := min(tt.rate+more, 1)
				if n := bakes(s, tt.requests, 10_000, tt.rate, rate, rate); n > 0 {
					sum, seen = sum+n, seen+1
				}
			}
			row += " | " + averageOf(sum, seen, runs)
		}
		rows = append(rows, row+" |")
	}
	return rows
}

// averageOf says on average after how many requests something was seen that was seen in so
// many of runs.
func averageOf(sum, seen, runs int) string {
	switch {
	case seen*100 < runs:
		return "not seen"
	case seen*2 < runs:
		return "seldom"
	}
	n := float64(sum) / float64(seen)
	if n < 1000 {
		return strconv.Itoa(int(math.Round(n)))
	}
	hundreds := int(math.Round(n / 100))
	return fmt.Sprintf("%d,%d00", hundreds/10, hundreds%10)
}
