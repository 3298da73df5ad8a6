package metrics_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// promtool comes with Prometheus; .ci/run installs it.
func TestAlertsFire(t *testing.T) {
	is := is.New(t)
	manual, err := os.ReadFile("../../../../docs/metrics.md")
	is.NoErr(err)
	_, rules, _ := strings.Cut(string(manual), "```yaml\n")
	rules, _, found := strings.Cut(rules, "```")
	is.True(found)
	tests, err := os.ReadFile("testdata/alerts_test.yml")
	is.NoErr(err)
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		is.True(strings.Contains(string(tests), "alertname: "+alert[1]+"\n")) // each is seen to fire
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("the rules are not tried: ", err)
	}
	dir := t.TempDir()
	is.NoErr(os.WriteFile(filepath.Join(dir, "rules.yml"), []byte(rules), 0o600))
	is.NoErr(os.WriteFile(filepath.Join(dir, "alerts_test.yml"), tests, 0o600))
	out, err := exec.Command(promtool, "test", "rules", filepath.Join(dir, "alerts_test.yml")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
