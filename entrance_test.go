package parachute_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// ask returns what h answers to a GET: the status, and where it leads or what it
// says.
func ask(h http.Handler, host, path string) string {
	r := httptest.NewRequest("GET", path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	said := w.Header().Get("Location")
	if w.Code == 200 {
		said = w.Body.String()
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", w.Code, said))
}

func TestServicesAreThereOnlyForThoseWhoComeInWhereTheyAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var seen []string
		k := newKeep(t, parachute.Options{
			NotFound: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }),
			Observe:  func(_ *http.Request, o parachute.Outcome) { seen = append(seen, o.Service) },
		})
		admins, others := k.Only("admin", "later"), k.Except("admin", "later")
		k.app("any", "any.internal:80")
		k.app("admin", "admin.internal:80")
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{Service: "any", Targets: []string{"any.internal:80"}, Hosts: []string{"app.test", "*.wild.test"}}))
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
			Service: "admin", Targets: []string{"admin.internal:80"}, Hosts: []string{"admin.test", "x.wild.test"},
		}))
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
			Service: "later", Targets: []string{"admin.internal:80"}, Hosts: []string{"app.test"}, PathPrefixes: []string{"/admin"},
		}))
		for _, tt := range []struct{ host, path, all, admins, others string }{
			{"app.test", "/", "200 any", "404", "200 any"},
			{"y.wild.test", "/", "200 any", "404", "200 any"},
			{"admin.test:9000", "/", "200 admin", "200 admin", "404"},
			{"x.wild.test", "/", "200 admin", "200 admin", "404"}, // it does not fall back to the wildcard
			{"app.test", "/admin/x", "200 admin", "200 admin", "404"},
			{"unknown.test", "/", "404", "404", "404"},
		} {
			is.Equal(ask(k.Proxy, tt.host, tt.path), tt.all)
			is.Equal(ask(admins, tt.host, tt.path), tt.admins)
			is.Equal(ask(others, tt.host, tt.path), tt.others)
		}
		is.NoErr(k.Remove(t.Context(), "later"))
		is.Equal(ask(others, "app.test", "/admin/x"), "200 any") // whose path it is now
		seen = nil
		ask(others, "admin.test", "/")
		is.Equal(seen, []string{""}) // nothing is told of the service
	})
}

func TestRedirectsLeadOnlyWhereTheServiceIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{PublicHTTPPort: 80, PublicHTTPSPort: 443})
		k.app("admin", "admin.internal:80")
		k.app("web", "web.internal:80")
		hosts := []string{"admin.test", "www.admin.test"}
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
			Service: "admin", Targets: []string{"admin.internal:80"}, Hosts: hosts, CanonicalHost: "admin.test", TLS: k.files(hosts...),
			PathPrefixes: []string{"/admin"},
		}))
		admins, others := k.Only("admin"), k.Except("admin")
		is.Equal(ask(k.Proxy, "admin.test", "/admin/x"), "301 https://admin.test/admin/x")
		is.Equal(ask(admins, "admin.test", "/admin"), "200 admin")                                         // for it is not served over TLS
		is.Equal(ask(admins, "www.admin.test:9000", "/admin/x?y"), "301 http://admin.test:9000/admin/x?y") // whose port is not the public one
		is.Equal(ask(admins, "www.admin.test:9000", "/other"), "301 http://admin.test:9000/other")         // as for every path of a host
		is.Equal(ask(others, "www.admin.test", "/admin"), "404")                                           // not even that there is such a host
		is.Equal(ask(others, "www.admin.test", "/other"), "404")                                           // whatever the path
		is.Equal(k.getTLS("admin.test", "admin.test", "/admin"), "200 admin")                              // by the handler of the Proxy itself
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web.internal:80"}, Hosts: hosts}))
		is.Equal(ask(others, "www.admin.test", "/other"), "301 https://admin.test/other") // of which there is more now
		is.Equal(ask(others, "www.admin.test", "/admin"), "404")
		is.Equal(ask(admins, "admin.test", "/other"), "404")
	})
}
