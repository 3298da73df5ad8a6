package server

import (
	"context"
	"encoding/json"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
)

// changesPatience is how long the process before this one may take to say what is under
// way there. Whoever asks for what is deployed does not wait longer for it.
const changesPatience = time.Second

// changes returns what is under way, by service: a deploy that has switched before an
// upgrade is complete when the process that has made it has drained what was replaced,
// whether or not somebody waits for its end.
type changes = map[string][]parachute.Change

// changesBefore returns what is under way in the processes, or servers of this one, before s.
func (s *server) changesBefore(ctx context.Context) changes {
	switch {
	case s.before != nil:
		return s.before.changes(ctx)
	case s.arrival != nil:
		return s.arrival.changes(ctx)
	}
	return nil
}

// changes returns what is under way before s, and in it.
func (s *server) changes(ctx context.Context) changes {
	all := make(changes)
	for _, service := range s.proxy.Services() {
		if len(service.Live.Changes) > 0 {
			all[service.Service] = service.Live.Changes
		}
	}
	for service, before := range s.changesBefore(ctx) {
		all[service] = append(before, all[service]...)
	}
	return all
}

// tellChanges answers a question of the new process.
func (s *server) tellChanges(d *departure, asked handover.AskChanges) {
	ctx, cancel := context.WithTimeout(context.Background(), changesPatience)
	defer cancel()
	all, err := json.Marshal(s.changes(ctx))
	if err != nil {
		return // the new process does not wait for long
	}
	_ = d.link.Send(handover.KindChanges, handover.Changes{ID: asked.ID, Services: all})
}

// changes asks the other process for what is under way there. It returns nil if that has
// ended, or does not answer in time, as one of an older version.
func (a *arrival) changes(ctx context.Context) changes {
	ctx, cancel := context.WithTimeout(ctx, changesPatience)
	defer cancel()
	a.mu.Lock()
	a.last++
	id, told := a.last, make(chan changes, 1)
	a.asked[id] = told
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.asked, id)
	}()
	if a.link.Send(handover.KindAskChanges, handover.AskChanges{ID: id}) != nil {
		return nil
	}
	select {
	case c := <-told:
		return c
	case <-a.gone:
	case <-ctx.Done():
	}
	return nil
}

// endAsk passes an answer on to who has asked.
func (a *arrival) endAsk(c handover.Changes) {
	a.mu.Lock()
	defer a.mu.Unlock()
	told := a.asked[c.ID]
	if told == nil {
		return
	}
	delete(a.asked, c.ID)
	var all changes
	_ = json.Unmarshal(c.Services, &all) // what cannot be read is not known
	told <- all
}
