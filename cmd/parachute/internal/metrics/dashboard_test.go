package metrics_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestDashboardShowsMetricsThatThereAre(t *testing.T) {
	is := is.New(t)
	text, err := os.ReadFile("../../../../docs/grafana.json")
	is.NoErr(err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	is.NoErr(json.Unmarshal(text, &dashboard))
	code, err := os.ReadFile("collect.go")
	is.NoErr(err)
	known := make(map[string]bool)
	for _, name := range regexp.MustCompile(`describe\("([a-z_]+)"`).FindAllStringSubmatch(string(code), -1) {
		known["parachute_"+name[1]] = true
	}
	m, _ := newMetrics(t)
	for _, name := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(scrape(t, m), -1) {
		known[name[1]] = true
	}
	shown := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			for _, name := range regexp.MustCompile(`\b(parachute|go|process)_[a-z_]+`).FindAllString(target.Expr, -1) {
				shown++
				if !known[strings.TrimSuffix(name, "_bucket")] {
					t.Errorf("%s shows %s, which is no metric", panel.Title, name)
				}
			}
		}
	}
	is.True(shown > 10) // the expressions were found
}
