package parachute_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// echo serves an app that answers with its name, the request target that came
// to it, and the prefix that it was told of.
func (h *house) echo(name, address string) {
	h.t.Helper()
	h.net.Serve(h.t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, name+" "+r.RequestURI+" "+r.Header.Get("X-Forwarded-Prefix"))
	}))
}

// below deploys the echo of a service that has prefixes on app.test.
func (h *house) below(service string, keep bool, prefixes ...string) error {
	h.t.Helper()
	h.echo(service, service+".test:80")
	return h.Deploy(h.t.Context(), parachute.Deployment{
		Service: service, Targets: []string{service + ".test:80"}, Hosts: []string{"app.test"},
		PathPrefixes: prefixes, KeepPrefix: keep,
	})
}

// getPath returns the answer to a GET of a target as it is written, in absolute
// form: the client would take "//api" for a host.
func (h *house) getPath(host, target string) string {
	r, err := http.NewRequest("GET", "http://proxy.test/", nil)
	if err != nil {
		return err.Error()
	}
	r.Host, r.URL.Opaque = host, "//"+host+target
	return h.do(r)
}

func TestRequestGoesToTheLongestPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, parachute.Options{})
		is := is.New(t)
		is.NoErr(h.below("web", false))
		is.NoErr(h.below("api", false, "/api", "/v1/"))
		is.NoErr(h.below("admin", true, "/api/admin", "/caf%C3%A9"))
		for target, want := range map[string]string{
			"/":                 "200 web /",
			"/apiary":           "200 web /apiary",
			"/API":              "200 web /API",
			"/api%2fx":          "200 web /api%2fx",
			"//api/x":           "200 web //api/x",
			"/api":              "200 api / /api",
			"/api?q=%2F":        "200 api /?q=%2F /api",
			"/api/":             "200 api / /api",
			"/%61pi/x":          "200 api /x /api",
			"/api//x":           "200 api /x /api",
			"/api/a%2Fb":        "200 api /a%2Fb /api",
			"/v1/x":             "200 api /x /v1",
			"/api/administer":   "200 api /administer /api",
			"/api/admin":        "200 admin /api/admin",
			"/api/adm%69n/x?y":  "200 admin /api/adm%69n/x?y",
			"/caf%c3%a9/x":      "200 admin /caf%c3%a9/x",
			"/api/../admin":     "400 400 Bad Request",
			"/api/%2E%2e/admin": "400 400 Bad Request",
			"/.":                "400 400 Bad Request",
		} {
			is.Equal(h.getPath("app.test", target), want) // target
		}
	})
}

// What a broader entry would answer is not what the host's owner put there.
func TestTheMostSpecificHostDecidesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("any", "any.test:80")
		is.NoErr(h.deploy("any", "any.test:80"))
		is.NoErr(h.below("api", false, "/api"))
		is.Equal(h.getPath("app.test", "/api/x"), "200 api /x /api")
		is.Equal(h.getPath("app.test", "/x"), "404 404 Not Found")
		is.Equal(h.getPath("other.test", "/x"), "200 any")
	})
}

func TestAPrefixBelongsToOneServiceOfItsHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.NoErr(h.below("api", false, "/api"))
		err := h.below("other", false, "/other", "/%61pi/")
		var conflict *parachute.ConflictError
		is.True(errors.As(err, &conflict))
		is.Equal(*conflict, parachute.ConflictError{Host: "app.test", Prefix: "/api", Owner: "api"})
		is.Equal(err.Error(), "parachute: deploy other: host app.test below /api is used by another service: api; remove that one first")

		is.NoErr(h.Remove(t.Context(), "api"))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
			Service: "other", Targets: []string{"other.test:80"}, Hosts: []string{"app.test"}, PathPrefixes: []string{"/other", "/api"},
		}))
		is.Equal(h.getPath("app.test", "/api/x"), "200 other /x /api") // it is free again
	})
}

func TestPrefixesThatCannotBeAreRefused(t *testing.T) {
	for prefix, want := range map[string]string{
		"":         `path prefix "": want one that begins with '/', such as /api`,
		"api":      `path prefix "api": want one that begins with '/', such as /api`,
		"/api?x":   `path prefix "/api?x": want a path alone, such as /api`,
		"/a%2":     `path prefix "/a%2": invalid URL escape "%2"; write a '%' of its own as %25`,
		"/a%2fb":   `path prefix "/a%2fb": an encoded '/' is part of a name, which a prefix cannot end; write it as '/'`,
		"/a//b":    `path prefix "/a//b" has an empty segment: want one slash between names, as in /api/v1`,
		"/a/../b":  `path prefix "/a/../b": no request with a segment ".." is served`,
		"/a/%2e/b": `path prefix "/a/%2e/b": no request with a segment "." is served`,
	} {
		t.Run(prefix, func(t *testing.T) {
			is := is.New(t)
			p := parachute.New(parachute.Options{})
			defer p.Close()
			err := p.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web.test:80"}, PathPrefixes: []string{prefix}})
			is.True(errors.Is(err, parachute.ErrInvalid))
			is.Equal(err.Error(), "parachute: deploy web: "+want)
		})
	}
}
