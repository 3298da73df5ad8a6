package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

func ask(a *app, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

func TestUpPassesOnceItsDelayIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		a := newApp("7", 5*time.Second)
		is.Equal(ask(a, "/up").Code, http.StatusServiceUnavailable)
		time.Sleep(5 * time.Second)
		is.Equal(ask(a, "/up").Code, http.StatusOK)
	})
}

func TestFaultIsInOnePathAlone(t *testing.T) {
	is := is.New(t)
	a := newApp("8", 0)
	is.Equal(ask(a, "/shop").Code, http.StatusOK)
	a.fault = "/shop"
	is.Equal(ask(a, "/shop").Code, http.StatusInternalServerError)
	is.Equal(ask(a, "/up").Code, http.StatusOK)
	is.Equal(ask(a, "/").Code, http.StatusOK)
}

func TestSlowTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		a := newApp("7", 0)
		begin := time.Now()
		is.Equal(ask(a, "/slow?for=2s").Body.String(), "version 7 took 2s\n")
		is.Equal(time.Since(begin), 2*time.Second)
		is.Equal(ask(a, "/slow?for=soon").Code, http.StatusBadRequest)
	})
}

func TestHelloTellsVersionAndForwardedHeaders(t *testing.T) {
	is := is.New(t)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	w := httptest.NewRecorder()
	newApp("7", 0).handler().ServeHTTP(w, r)
	is.True(strings.HasPrefix(w.Body.String(), "version 7 on "))
	is.True(strings.Contains(w.Body.String(), "\nX-Forwarded-For: 203.0.113.9\n"))
}

func TestEventsComeEachSecondUntilTheAppStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		a := newApp("7", 0)
		time.AfterFunc(2500*time.Millisecond, a.endStreams)
		is.Equal(ask(a, "/events").Body.String(), "id: 1\ndata: version 7\n\nid: 2\ndata: version 7\n\nid: 3\ndata: version 7\n\n")
	})
}
