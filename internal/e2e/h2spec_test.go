package e2e_test

import (
	"encoding/xml"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// h2spec speaks HTTP/2 to the letter, and beside it. It is not asked for more
// than the standard library's own server does.
func TestHTTP2IsSpokenAsTheStandardLibraryDoes(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	h2spec := filepath.Join(t.TempDir(), "h2spec")
	is.NoErr(proxytest.Build(h2spec, ".", "github.com/summerwind/h2spec/cmd/h2spec"))
	web := newApp(t, "web")
	certFile, keyFile := proxytest.NewCA().WritePair(t, t.TempDir(), "localhost")
	p := startProxy(t, newAuthority(t, authorityConfig{}))
	p.deploy(t, "web", web, "--tls", "--host", "localhost", "--tls-certificate-path", certFile, "--tls-private-key-path", keyFile)

	reference := httptest.NewUnstartedServer(web)
	reference.EnableHTTP2 = true
	reference.Config.ErrorLog = log.New(io.Discard, "", 0) // h2spec gives it much to say
	reference.StartTLS()
	defer reference.Close()

	var ours, theirs h2specReport
	var running sync.WaitGroup
	running.Go(func() { ours = runH2spec(t, h2spec, p.https) })
	running.Go(func() { theirs = runH2spec(t, h2spec, reference.Listener.Addr().String()) })
	running.Wait()
	is.True(len(theirs.failures) < theirs.tests/10) // they were run, and against a server of HTTP/2
	is.Equal(ours.tests, theirs.tests)
	for name, why := range ours.failures {
		if _, too := theirs.failures[name]; !too {
			t.Errorf("%s: %s", name, why)
		}
	}
}

// An h2specReport says how many tests were run, and why some of them failed.
type h2specReport struct {
	tests    int
	failures map[string]string
}

func runH2spec(t *testing.T, h2spec, address string) h2specReport {
	file := filepath.Join(t.TempDir(), "report.xml")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Error(err)
		return h2specReport{}
	}
	cmd := exec.CommandContext(t.Context(), h2spec, "--tls", "--insecure", "--host", "localhost", "--port", port, "--strict", "--timeout", "5", "--junit-report", file)
	out, err := cmd.CombinedOutput()
	data, fileErr := os.ReadFile(file)
	if fileErr != nil {
		t.Errorf("h2spec against %s: %v\n%s", address, err, out)
		return h2specReport{}
	}
	var suites struct {
		Suites []struct {
			Cases []struct {
				Package string  `xml:"package,attr"`
				Name    string  `xml:"classname,attr"`
				Failure *string `xml:"failure"`
				Error   *string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &suites); err != nil {
		t.Error(err)
	}
	report := h2specReport{failures: make(map[string]string)}
	for _, suite := range suites.Suites {
		for _, c := range suite.Cases {
			report.tests++
			for _, why := range []*string{c.Failure, c.Error} {
				if why != nil {
					report.failures[c.Package+" "+c.Name] = *why
				}
			}
		}
	}
	return report
}
