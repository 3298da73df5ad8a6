package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
	"github.com/shahnk19/parachute/cmd/parachute/internal/metrics"
)

// The log, the metrics, and the alert that docs/metrics.md has for errors, say
// the same of a request that did not end with the answer of its target.
func TestLogMetricsAndAlertAgreeOnWhoseFaultItWas(t *testing.T) {
	manual, err := os.ReadFile("../../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	expression := regexp.MustCompile(`parachute_requests_total\{status=~"([^"]*)"\}`).FindSubmatch(manual)
	if expression == nil {
		t.Fatal("docs/metrics.md has no alert for errors")
	}
	alarming := regexp.MustCompile(`^(?:` + string(expression[1]) + `)$`)

	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
			<-r.Context().Done()
		case "/broken":
			panic(http.ErrAbortHandler)
		}
	}))
	defer app.Close()
	left, leave := context.WithCancel(t.Context())
	leave()
	upload := httptest.NewRequestWithContext(left, "POST", "http://a.test/", leaving{})
	upload.ContentLength = 10
	for name, tt := range map[string]struct {
		r      *http.Request
		status int
		told   string // the error in the log contains it
		class  string
		alarms bool
	}{
		"a client that left before the answer": {httptest.NewRequestWithContext(left, "GET", "http://a.test/silent", nil), 499, "gone: ", "4xx", false},
		"a client that left its upload":        {upload, 499, "client: unexpected EOF", "4xx", false},
		"a target that broke":                  {httptest.NewRequest("POST", "http://a.test/broken", nil), 502, "broken: ", "5xx", true},
		"nobody's":                             {httptest.NewRequest("GET", "http://b.test/", nil), 404, "no service", "4xx", false},
		"a panic":                              {httptest.NewRequest("GET", "http://b.test/panic", nil), 0, "panic while serving", "none", true},
		"answered":                             {httptest.NewRequest("GET", "http://a.test/", nil), 200, "", "2xx", false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var out bytes.Buffer
			log, counts := accesslog.New(&out, accesslog.JSON), metrics.New()
			p := parachute.New(parachute.Options{
				Observe: func(r *http.Request, o parachute.Outcome) {
					log.Observe(r, o)
					counts.Observe(r, o)
				},
				NotFound: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/panic" {
						panic(http.ErrAbortHandler)
					}
					http.NotFound(w, r)
				}),
			})
			defer p.Close()
			counts.SetProxy(p)
			is.NoErr(p.Deploy(t.Context(), parachute.Deployment{Service: "web", Hosts: []string{"a.test"}, Targets: []string{app.Listener.Addr().String()},
				Force: true, HealthCheck: parachute.HealthCheck{Interval: time.Hour}}))
			func() {
				defer func() { recover() }()
				p.ServeHTTP(httptest.NewRecorder(), tt.r)
			}()
			is.NoErr(log.Close())
			var line struct {
				Status  int
				Error   string
				Service string
			}
			is.NoErr(json.Unmarshal(out.Bytes(), &line))
			is.Equal(line.Status, tt.status)
			is.True(strings.Contains(line.Error, tt.told))
			is.Equal(line.Error == "", tt.told == "")
			w := httptest.NewRecorder()
			counts.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			counted := fmt.Sprintf(`parachute_requests_total\{code="%d",method=%q,role="[a-z_]*",service=%q,status=%q\} 1\n`, tt.status, tt.r.Method, line.Service, tt.class)
			is.True(regexp.MustCompile(counted).MatchString(w.Body.String()))
			is.Equal(alarming.MatchString(tt.class), tt.alarms)
		})
	}
}

// leaving is the body of a client that left.
type leaving struct{}

func (leaving) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
