package control_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// applier serves the control plane of a Proxy with the service web, whose handlers are
// healthy, and returns what asks it and the Proxy.
func applier(t *testing.T) (func(method, path, body string) (int, string), *parachute.Proxy) {
	t.Helper()
	s := control.NewServer("test")
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	p := parachute.New(parachute.Options{Notify: s.Notify, Handlers: map[string]http.Handler{"a": hello, "b": hello}})
	t.Cleanup(func() { p.Close() })
	is.New(t).NoErr(p.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"handler:a"}, Hosts: []string{"web.test"}}))
	ask := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Accept", "application/x-ndjson")
		s.Handler(p).ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	return ask, p
}

func TestWhatIsExportedCanBeApplied(t *testing.T) {
	is := is.New(t)
	ask, p := applier(t)
	status, document := ask("GET", "/v1/export", "")
	is.Equal(status, http.StatusOK)
	_, answer := ask("PUT", "/v1/services", document)
	is.True(strings.HasSuffix(answer, `{"applied":{"added":0,"replaced":0,"removed":0,"kept":1,"requests_cut":0,"streams_closed":0}}`+"\n")) // nothing is to be done
	is.Equal(p.Services()[0].Generation, uint64(1))

	moved := strings.ReplaceAll(document, `"web"`, `"shop"`)
	_, answer = ask("PUT", "/v1/services?prune=true&dry_run=true", moved)
	is.True(strings.HasSuffix(answer, `{"applied":{"added":1,"replaced":0,"removed":1,"kept":0,"dry_run":true,"requests_cut":0,"streams_closed":0}}`+"\n"))
	is.Equal(p.Services()[0].Service, "web") // nothing was done

	_, answer = ask("PUT", "/v1/services?prune=true", moved)
	var kinds []string
	for line := range strings.Lines(answer) {
		var l struct {
			Plan    []parachute.Step
			Event   *struct{ Service, Kind string }
			Applied *control.Applied
		}
		is.NoErr(json.Unmarshal([]byte(line), &l))
		switch {
		case l.Plan != nil:
			kinds = append(kinds, "plan")
		case l.Event != nil:
			kinds = append(kinds, l.Event.Service+" "+l.Event.Kind)
		case l.Applied != nil:
			kinds = append(kinds, fmt.Sprintf("applied %d %d", l.Applied.Added, l.Applied.Removed))
		}
	}
	is.Equal(kinds, []string{"plan", "shop deploying", "shop probed", "shop healthy", "shop switched", "web removed", "web draining", "web drained", "applied 1 1"})
	is.Equal(len(p.Services()), 1)
	is.Equal(p.Services()[0].Service, "shop")
}

func TestDocumentThatCannotBeAppliedIsNamed(t *testing.T) {
	one := `{"service":"new","targets":["handler:b"],"hosts":["new.test"]}`
	two := `{"service":"other","targets":["handler:b"],"hosts":["new.test"]}`
	for _, tt := range []struct{ name, body, code, want string }{
		{"another version", `{"version":2,"services":[],"also":1}`, "invalid", "version 2, and this proxy knows version 1"},
		{"no version", `{"services":[` + one + `]}`, "invalid", "it has no version"},
		{"no services", `{"version":1}`, "invalid", "it has no services"},
		{"an unknown field", `{"version":1,"services":[],"also":1}`, "invalid", `unknown field "also": want one of version, services`},
		{"an unknown field of a service", `{"version":1,"services":[` + one + `,{"service":"x","hots":["x.test"]}]}`, "invalid", `services[1], "x": unknown field "hots"`},
		{"an unknown field of its timeouts", `{"version":1,"services":[{"service":"x","timeouts":{"dry":"1s"}}]}`, "invalid", `services[0], "x": `},
		{"no JSON", `services`, "invalid", "is not JSON"},
		{"nothing", ``, "invalid", "there is nothing in it"},
		{"more behind it", `{"version":1,"services":[]}{}`, "invalid", "there is more behind it"},
		{"a list", `[` + one + `]`, "invalid", "the body is a JSON array"},
		{"ten megabytes", `{"version":1,"services":[` + strings.Repeat(" ", 10<<20) + `]}`, "invalid", "more than 8388608 bytes"},
		{"two on one host", `{"version":1,"services":[` + one + `,` + two + `]}`, "conflict", `service \"new\": host new.test is used by another service: other`},
		{"one that cannot be", `{"version":1,"services":[` + one + `,{"service":"x"}]}`, "invalid", `service \"x\": no target`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			ask, p := applier(t)
			status, answer := ask("PUT", "/v1/services?prune=true", tt.body)
			is.True(status >= 400)
			is.True(strings.Contains(answer, `"code":"`+tt.code+`"`)) // answer
			if !strings.Contains(answer, tt.want) && !strings.Contains(strings.ReplaceAll(answer, `\"`, `"`), tt.want) {
				t.Errorf("%s\n\tdoes not say: %s", answer, tt.want)
			}
			is.Equal(len(p.Services()), 1) // nothing was changed
			is.Equal(p.Services()[0].Generation, uint64(1))
		})
	}
}

func TestParametersOfApplyAreChecked(t *testing.T) {
	is := is.New(t)
	ask, _ := applier(t)
	for _, query := range []string{"prun=true", "dry_run=perhaps"} {
		status, answer := ask("PUT", "/v1/services?"+query, `{"version":1,"services":[]}`)
		is.Equal(status, http.StatusBadRequest)
		is.True(strings.Contains(answer, strings.Split(query, "=")[0])) // it is named
	}
}

func TestServerThatRefusesAppliesNothing(t *testing.T) {
	is := is.New(t)
	s := control.NewServer("test")
	p := parachute.New(parachute.Options{Notify: s.Notify})
	defer p.Close()
	s.Refuse()
	w := httptest.NewRecorder()
	s.Handler(p).ServeHTTP(w, httptest.NewRequest("PUT", "/v1/services", strings.NewReader(`{"version":1,"services":[]}`)))
	is.Equal(w.Code, http.StatusServiceUnavailable)
}
