package control

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/shahnk19/parachute"
)

// What was deployed before, and how to return to it.

// history answers with the history of one service or of all. It has no secrets, so
// whoever may look sees all of it.
func (c *handlers) history(w http.ResponseWriter, r *http.Request) {
	past, err := c.proxy.History(r.PathValue("name"))
	if err != nil && !c.server.ended.Load() {
		writeError(w, err)
		return
	}
	c.writeKnown(w, "history", records(past))
}

// records are a history that is written as one value, without package json looking at each
// record again.
type records []parachute.Past

func (rs records) appendJSON(b []byte) ([]byte, error) {
	if rs == nil {
		return append(b, "null"...), nil
	}
	b = append(slices.Grow(b, 320*len(rs)), '[') // which most are shorter than
	for i, r := range rs {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = r.AppendJSON(b); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// parseJSON reads what appendJSON has written, and what else package json can read.
func (rs *records) parseJSON(text string) error {
	var ok bool
	if *rs, ok = cutRecords(text); ok {
		return nil
	}
	return json.Unmarshal([]byte(text), (*[]parachute.Past)(rs))
}

// cutRecords reads what appendJSON has written, without package json looking at it.
func cutRecords(text string) (rs records, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSuffix(text, "\n"), "[")
	rs = make(records, 0, strings.Count(text, `{"service":`))
	for ok && rest != "]" {
		if len(rs) > 0 {
			if rest, ok = strings.CutPrefix(rest, ","); !ok {
				break
			}
		}
		rs = append(rs, parachute.Past{})
		rest, ok = rs[len(rs)-1].CutJSON(rest)
	}
	return rs, ok
}

func (c *handlers) rollback(w http.ResponseWriter, r *http.Request) {
	how, err := decodeOptionalBody[parachute.Rollback](w, r, rollbackWanted)
	name := r.PathValue("name")
	c.runOperation(w, r, err, task{
		verb: "roll back", service: name, firstEvent: parachute.EventDeploying,
		do: func() error { return c.proxy.Rollback(r.Context(), name, how) },
	})
}

// History returns the result of parachute.Proxy.History.
func (c *Client) History(ctx context.Context, service string) ([]parachute.Past, error) {
	var past records
	err := c.query(ctx, historyPath(service), &past)
	return past, err
}

// HistoryJSON returns it as the proxy has put it, which may be no JSON.
func (c *Client) HistoryJSON(ctx context.Context, service string) (string, error) {
	var text rawText
	err := c.query(ctx, historyPath(service), &text)
	return string(text), err
}

// rawText is an answer as it is.
type rawText string

func (t *rawText) parseJSON(text string) error {
	*t = rawText(text)
	return nil
}

func historyPath(service string) string {
	if service == "" {
		return "/v1/history"
	}
	return (&change{service: service, suffix: "/history"}).path()
}

// Rollback has the proxy do what parachute.Proxy.Rollback does. All that is said of
// Deploy holds for it.
func (c *Client) Rollback(ctx context.Context, service string, how parachute.Rollback, events func(parachute.Event)) (Result, error) {
	return c.changeWithBody(ctx, how, &change{
		verb: "roll back", service: service,
		method: http.MethodPost, suffix: "/rollback",
		effect: parachute.EventSwitched,
		check:  checkGeneration,
		events: events,
	})
}

// checkGeneration says whether the deployment that the change made serves.
func checkGeneration(ch *change, services []parachute.Status) verdict {
	for _, s := range services {
		if s.Service == ch.service {
			ch.targets = s.Deployment.Targets // nobody has said which they would be
		}
	}
	return checkDeploy(ch, services)
}
