package notify

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

// A message is what is sent of one event.
type message struct {
	event parachute.Event
	text  string // empty: what describe says of event
	id    string // the same in each attempt; empty: none was made
}

// An encoder makes bodies of messages.
type encoder struct {
	format           Format
	event            func(parachute.Event) ([]byte, error)
	machine, version string
}

// An envelope has the fields of a body that are not the event's.
type envelope struct {
	ID      string `json:"id"`
	Machine string `json:"machine,omitempty"`
	Version string `json:"version,omitempty"`
	PID     int    `json:"pid"`
	Text    string `json:"text"`
}

// encode returns the body that tells of m.
func (c *encoder) encode(m message) ([]byte, error) {
	if m.text == "" {
		m.text = describe(m.event)
	}
	if c.format == FormatSlack {
		text := m.text
		if c.machine != "" {
			text = c.machine + ": " + text
		}
		return json.Marshal(struct {
			Text string `json:"text"`
		}{forSlack(text)})
	}
	fields := make(map[string]json.RawMessage)
	isOfProcess := m.event.Kind == KindStarted || m.event.Kind == KindStopping
	if !isOfProcess {
		event, err := c.event(m.event)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(event, &fields); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(envelope{m.id, c.machine, c.version, os.Getpid(), m.text})
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	if isOfProcess {
		at, _ := json.Marshal(m.event.Time.UTC().Format(time.RFC3339Nano)) // of text, which cannot fail
		kind, _ := json.Marshal(m.event.Kind)
		fields["time"], fields["kind"] = at, kind
	}
	return json.Marshal(fields)
}

// newID returns what tells a message from all others.
func newID() string { return rand.Text() }

// maxSlack is how many bytes of a text are sent to Slack, which cuts it off at 40,000
// characters, and those that are like it sooner.
const maxSlack = 3000

// forSlack returns a text for Slack, in which three characters have a meaning.
func forSlack(text string) string {
	if len(text) > maxSlack {
		text = strings.ToValidUTF8(text[:maxSlack], "") + " ..."
	}
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}
