package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/shahnk19/parachute"
)

// What all proxies of a fleet say of themselves, asked through one of them.

// An Answer is what Server.Answer of a proxy has returned.
type Answer struct {
	Name string
	Self bool
	Told []byte // nil: nothing
	Err  error  // why
}

// Told is what one proxy of a fleet says of itself. One that could not be asked, or has not
// answered, says nothing, and Error is why.
type Told struct {
	Name  string `json:"name"`
	Self  bool   `json:"self,omitempty"` // it is the one that was asked
	Error string `json:"error,omitempty"`

	// One of these is what was asked for.
	Services     []parachute.Status      `json:"services,omitzero"`
	Certificates []parachute.Certificate `json:"certificates,omitzero"`
	History      []parachute.Past        `json:"history,omitzero"`

	// Records has, by service, the revision of the record that the proxy serves.
	Records map[string]int64 `json:"records,omitempty"`
}

// What a query may be about.
const (
	queryServices     = "services"
	queryCertificates = "certificates"
	queryHistory      = "history"
)

// A query says what a proxy is asked to tell of itself.
type query struct {
	Of      string `json:"of"`
	Service string `json:"service,omitempty"` // which alone; empty: all
	IsGuest bool   `json:"guest,omitempty"`   // whoever asks may see no secrets
}

// seen is the answer to a query: the field that it is about is set.
type seen struct {
	Records      map[string]int64 `json:"records,omitempty"`
	Services     json.RawMessage  `json:"services,omitempty"`
	Certificates json.RawMessage  `json:"certificates,omitempty"`
	History      json.RawMessage  `json:"history,omitempty"`
}

// toldSeen is a Told in JSON.
type toldSeen struct {
	Name  string `json:"name"`
	Self  bool   `json:"self,omitempty"`
	Error string `json:"error,omitempty"`
	seen
}

// everywhere answers with what all proxies say of a subject.
func (c *handlers) everywhere(subject string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ask := c.server.Fleet.Ask
		if ask == nil {
			writeError(w, fmt.Errorf("parachute: fleet: %w", errNoFleet))
			return
		}
		question, err := json.Marshal(query{Of: subject, Service: r.PathValue("name"), IsGuest: guestOf(r.Context()) != nil})
		var answers []Answer
		if err == nil {
			answers, err = ask(r.Context(), question)
		}
		if err != nil {
			writeError(w, fmt.Errorf("parachute: fleet: %w", err))
			return
		}
		all := make([]toldSeen, 0, len(answers))
		for _, a := range answers {
			one := toldSeen{Name: a.Name, Self: a.Self}
			if a.Err == nil {
				a.Err = json.Unmarshal(a.Told, &one.seen)
			}
			if a.Err != nil {
				one.seen, one.Error = seen{}, a.Err.Error()
			}
			all = append(all, one)
		}
		writeJSON(w, http.StatusOK, all)
	}
}

// Answer returns what p says to the question of another proxy of the fleet, or of its own.
func (s *Server) Answer(ctx context.Context, p *parachute.Proxy, question []byte) ([]byte, error) {
	var q query
	if err := json.Unmarshal(question, &q); err != nil {
		return nil, fmt.Errorf("version %s of parachute does not understand the question: %w", s.version, err)
	}
	said, err := (&handlers{s, p}).ownAnswer(ctx, q)
	if s.ended.Load() { // perhaps before the Proxy was asked
		err = errors.New("the proxy ends")
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(said)
}

// ownAnswer answers a query about this proxy.
func (c *handlers) ownAnswer(ctx context.Context, q query) (said seen, err error) {
	switch q.Of {
	case queryServices:
		if c.server.Fleet.Records != nil {
			said.Records = c.server.Fleet.Records()
		}
		services := c.proxy.Services()
		if q.Service != "" {
			services = nil
			if one, err := c.proxy.Service(q.Service); err == nil {
				services = []parachute.Status{one}
			}
			said.Records = only(said.Records, q.Service)
		}
		c.complete(ctx, services, q.IsGuest)
		said.Services, err = marshalList(services)
	case queryCertificates:
		said.Certificates, err = marshalList(c.proxy.Certificates())
	case queryHistory:
		past, _ := c.proxy.History(q.Service) // there is none of a service that it has never had
		said.History, err = marshalList(past)
	default:
		err = fmt.Errorf("version %s of parachute has no view of %q", c.server.version, q.Of)
	}
	return said, err
}

// only returns the entry of m with that key alone.
func only(m map[string]int64, key string) map[string]int64 {
	value, is := m[key]
	if !is {
		return nil
	}
	return map[string]int64{key: value}
}

// marshalList returns list in JSON, which is [] if there is none.
func marshalList[T any](list []T) (json.RawMessage, error) {
	if list == nil {
		list = []T{}
	}
	return json.Marshal(list)
}

// ServicesEverywhere returns what each proxy of the fleet has as Services, or of one service
// if that is not empty, by the names of the proxies.
func (c *Client) ServicesEverywhere(ctx context.Context, service string) ([]Told, error) {
	if service == "" {
		return c.everywhere(ctx, "/services")
	}
	return c.everywhere(ctx, ofService(service, ""))
}

// CertificatesEverywhere is likewise for Certificates.
func (c *Client) CertificatesEverywhere(ctx context.Context) ([]Told, error) {
	return c.everywhere(ctx, "/certificates")
}

// HistoryEverywhere is likewise for History.
func (c *Client) HistoryEverywhere(ctx context.Context, service string) ([]Told, error) {
	if service == "" {
		return c.everywhere(ctx, "/history")
	}
	return c.everywhere(ctx, ofService(service, "/history"))
}

// ofService returns the path of a service, and what follows it, below /v1.
func ofService(name, suffix string) string {
	return strings.TrimPrefix((&change{service: name, suffix: suffix}).path(), "/v1")
}

func (c *Client) everywhere(ctx context.Context, path string) ([]Told, error) {
	var all []Told
	err := c.query(ctx, "/v1/fleet"+path, &all)
	return all, err
}
