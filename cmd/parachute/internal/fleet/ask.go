package fleet

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// The limits of a question.
const (
	// askTimeout bounds how long its answers are waited for.
	askTimeout = 5 * time.Second

	// mostOfAnswer is how many bytes the answer of one member has in the store, and
	// mostOfAnswers how many those of all have. Who answers compresses it.
	mostOfAnswer  = 1 << 20
	mostOfAnswers = 32 << 20

	// mostInflation is how many times as long an answer may be before that.
	mostInflation = 40
)

// A question is what a member asks all others about themselves.
type question struct {
	By   string          `json:"by"`
	What json.RawMessage `json:"what"` // for Config.Tell
	Most int             `json:"most"` // bytes that an answer may have
}

// An Answer is what a member has told of itself.
type Answer struct {
	Name string
	Self bool   // it is the member that has asked
	Told []byte // by its Config.Tell; nil: nothing
	Err  error  // why
}

// reply is an Answer in the store, compressed.
type reply struct {
	Told  json.RawMessage `json:"told,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Ask has every member's Config.Tell answer what, and returns the answers by name, within a
// few seconds: that of each which was a member when it was asked, or has become one since. One
// that has not answered is there with the reason, and so is one that was lost before; but not one
// that has left with nothing left. The error is why the members could not be asked.
//
// A question is a key that all members watch, and each puts its answer beside it. Both have
// a lease of their own, which ends when the answers are there or, if it comes to that, by
// itself. Of one member there is one question at a time.
func (m *Member) Ask(ctx context.Context, what []byte) ([]Answer, error) {
	select {
	case m.asking <- struct{}{}:
		defer func() { <-m.asking }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := m.await(limited)
	if err != nil {
		return nil, err
	}
	pairs, _, err := m.store.Read(limited, membersBelow)
	if err != nil {
		return nil, err
	}
	there := electors(byName(pairs, membersBelow), 0)
	lost, err := m.Lost(limited)
	if err != nil {
		return nil, err
	}
	lease, err := m.store.Grant(limited, 2*askTimeout)
	if err != nil {
		return nil, err
	}
	defer m.endQuestion(ctx, lease)
	id := m.newID(s)
	q := question{By: m.Name, What: what, Most: min(mostOfAnswer, mostOfAnswers/max(len(there.members), 1))}
	_, ok, err := m.store.Commit(limited, []kv.Condition{kv.Held(membersBelow+m.Name, s.lease)}, []kv.Write{kv.Put(questionsBelow+id, encode(q), lease)})
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errNoMember
	}
	own := m.ownReply(limited, what)
	answers := map[string]Answer{m.Name: {Name: m.Name, Self: true, Told: own.Told, Err: own.err()}}
	err = m.hear(limited, id, q, there, answers)
	if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return nil, err
	}
	for _, of := range lost {
		if _, isBack := answers[of.Name]; !isBack {
			answers[of.Name] = Answer{Name: of.Name, Err: errLost}
		}
	}
	return slices.SortedFunc(maps.Values(answers), func(a, b Answer) int { return strings.Compare(a.Name, b.Name) }), nil
}

// endQuestion takes what has that lease out of the store.
func (m *Member) endQuestion(ctx context.Context, lease kv.Lease) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), margin)
	defer cancel()
	m.store.Revoke(limited, lease) // or else it ends by itself
}

// hear puts into answers what all members but this one answer, or why they do not. There are
// the members that were asked. It returns when each has answered or is lost, or with an error.
func (m *Member) hear(ctx context.Context, id string, q question, there electorate, answers map[string]Answer) error {
	below := answersBelow + id + "/"
	return m.observe(ctx, []string{below, membersBelow}, func(v *storeView) (bool, error) {
		now, said := electors(v.below(membersBelow), 0), v.below(below)
		maps.Copy(there.members, now.members) // who has come sees the question, too
		isComplete := true
		for name, created := range there.members {
			_, isThere := now.members[name]
			p, has := said[name]
			a := Answer{Name: name}
			switch {
			case name == m.Name, answers[name].Told != nil:
				continue
			case has:
				r := inflate(p.Value, q.Most)
				a.Told, a.Err = r.Told, r.err()
			case isThere:
				isComplete = false
				a.Err = fmt.Errorf("it did not answer within %v", askTimeout)
			case now.left[name] == created:
				delete(answers, name)
				continue
			default:
				a.Err = errLost
			}
			answers[name] = a
		}
		return isComplete, nil
	})
}

// followQuestions answers the questions of other members, until ctx ends.
func (m *Member) followQuestions(ctx context.Context, s *session) error {
	return m.watch(ctx, questionsBelow, func(pairs []kv.Pair, _ int64) {
		for _, p := range pairs {
			m.answer(ctx, s, p)
		}
	}, func(_ int64, changes []kv.Change) {
		for _, c := range changes {
			if !c.Deleted {
				m.answer(ctx, s, c.Pair)
			}
		}
	})
}

// answer answers the question that p is in the store, unless it is the Member's own, for as
// long as somebody waits for that.
func (m *Member) answer(ctx context.Context, s *session, p kv.Pair) {
	var q question
	if json.Unmarshal(p.Value, &q) != nil || q.By == m.Name {
		return
	}
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	said := m.ownReply(limited, q.What).deflate(min(q.Most, mostOfAnswer))
	key := answersBelow + strings.TrimPrefix(p.Key, questionsBelow) + "/" + m.Name
	m.insist(limited, s, []kv.Condition{kv.Unchanged(p.Key, p.Modified), kv.Held(membersBelow+m.Name, s.lease)}, []kv.Write{kv.Put(key, said, p.Lease)})
}

// ownReply returns what the Member says of itself.
func (m *Member) ownReply(ctx context.Context, what []byte) reply {
	told, err := m.Tell(ctx, what)
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{Told: told}
}

func (r reply) err() error {
	if r.Error == "" {
		return nil
	}
	return errors.New(r.Error)
}

// deflate returns r compressed, in at most that many bytes. If it is too long for that, it says
// so.
func (r reply) deflate(most int) []byte {
	text := encode(r)
	size := len(text) / mostInflation
	if size <= most {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, err := w.Write(text)
		if err = errors.Join(err, w.Close()); err != nil {
			panic("fleet: " + err.Error()) // the buffer takes everything
		}
		if size = out.Len(); size <= most {
			return out.Bytes()
		}
	}
	return reply{Error: fmt.Sprintf("it has more to say than the store is to take, %d of %d bytes: ask about one service", size, most)}.deflate(mostOfAnswer)
}

// inflate returns what deflate has made text of, with that limit.
func inflate(text []byte, most int) (r reply) {
	in, err := gzip.NewReader(bytes.NewReader(text))
	if err == nil {
		err = json.NewDecoder(io.LimitReader(in, int64(most+1)*mostInflation)).Decode(&r)
	}
	if err == nil && r.Error == "" && r.Told == nil {
		err = errors.New("it says nothing")
	}
	if err != nil {
		return reply{Error: "its answer cannot be read: " + err.Error()}
	}
	return r
}

// Records returns the revisions of the records that the Proxy serves, by service.
func (m *Member) Records() map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]int64)
	for name, revision := range m.applied {
		if r, is := m.records[name]; is && r.Status != nil {
			all[name] = revision
		}
	}
	return all
}
