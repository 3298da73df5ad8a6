package registry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/publish"
	"github.com/shahnk19/parachute/internal/registry"
	"github.com/shahnk19/parachute/internal/routing"
)

const (
	first publish.Part = 1 << iota
	second
)

var (
	errConflict   = errors.New("conflict")
	errSuperseded = errors.New("superseded")
	errClosed     = errors.New("closed")
	errInvalid    = errors.New("invalid")
)

type book = registry.Book[*edition, string]

// newBook returns a Book of changes of what t serves.
func newBook(t *table) *book {
	return registry.NewBook(func() *table { return t }, registry.Errors{Superseded: errSuperseded, Closed: errClosed, Invalid: errInvalid, Conflict: func(c *routing.Conflict) error {
		return fmt.Errorf("%w: %s is %s's", errConflict, c.Host, c.Owner)
	}})
}

// hosts returns what a service wants that is to have these hosts.
func hosts(names ...string) (w routing.Wants) {
	for _, name := range names {
		w.Claims = append(w.Claims, hostname.Claim{Host: name})
	}
	return w
}

// with returns a version of a service that has these hosts.
func with(service string, generation uint64, names ...string) *edition {
	e := of(service, generation)
	e.Wants = hosts(names...)
	return e
}

// reserve begins a change of a service, which nothing refuses.
func reserve(t *testing.T, b *book, service string, w routing.Wants) (*publish.Reservation[routing.Wants], context.Context) {
	t.Helper()
	r, ctx, err := b.Reserve(t.Context(), service, first, w)
	if err != nil {
		t.Fatal(err)
	}
	return r, ctx
}

// change returns that of a service which is to have these hosts.
func change(service string, names ...string) registry.Change {
	w := hosts(names...)
	return registry.Change{Service: service, Part: first, Wants: &w}
}

func TestChangeIsRefusedWhatAnotherServiceHasOrHasReserved(t *testing.T) {
	is := is.New(t)
	b := newBook(after(newTable(10), of("web", 1)))
	reserve(t, b, "api", hosts("api"))
	for host, owner := range map[string]string{"web": "web", "api": "api"} {
		_, _, err := b.Reserve(t.Context(), "shop", first, hosts("shop", host))
		is.True(errors.Is(err, errConflict))
		is.Equal(err.Error(), fmt.Sprintf("conflict: %s is %s's", host, owner))
		is.Equal(b.Check("shop", hosts(host)).Error(), err.Error())
	}
	is.NoErr(b.Check("web", hosts("web"))) // it is its own
	shop, _ := reserve(t, b, "shop", hosts("shop"))
	is.Equal(shop.Number, uint64(2)) // what was refused has got no number
}

func TestNewerChangeOfAServiceSupersedesTheOlderOne(t *testing.T) {
	is := is.New(t)
	b := newBook(newTable(10))
	_, ctx := reserve(t, b, "web", hosts("web"))
	reserve(t, b, "web", hosts("web"))
	is.True(errors.Is(context.Cause(ctx), errSuperseded))
	is.Equal(context.Cause(ctx).Error(), "superseded by generation 2 of the service, which was asked for later")
	b.Close()
	_, _, err := b.Reserve(t.Context(), "web", first, hosts("web"))
	is.Equal(err, errClosed)
}

func TestChangesThatAreBegunTogetherMayExchangeHosts(t *testing.T) {
	is := is.New(t)
	served := after(newTable(10), with("web", 1, "old"), with("api", 2, "new"), with("shop", 3, "gone"))
	b := newBook(served)
	all := []registry.Change{change("web", "new"), change("api", "old", "gone"), {Service: "shop", Part: first | second}}
	reserved, ctx, err := b.ReserveAll(t.Context(), all)
	is.NoErr(err)
	is.NoErr(b.Commit(ctx, reserved...))
	for i, r := range reserved {
		is.Equal(r.Name, all[i].Service)
	}
}

func TestChangesThatContradictEachOtherAreRefusedTogether(t *testing.T) {
	is := is.New(t)
	served := after(newTable(10), of("web", 1))
	b := newBook(served)
	all := []registry.Change{change("a", "same"), change("b", "same"), change("c", "web"), change("d", "free")}
	want := `service "a": conflict: same is b's; service "b": conflict: same is a's; service "c": conflict: web is web's`
	_, err := b.Plan(served, []registry.Wish{wish("a", "same"), wish("b", "same"), wish("c", "web"), wish("d", "free")})
	is.Equal(err.Error(), want)
	_, _, err = b.ReserveAll(t.Context(), all)
	is.Equal(err.Error(), want)
	reserve(t, b, "e", hosts("free")) // nobody has reserved it
	_, _, err = b.ReserveAll(t.Context(), all[3:])
	is.Equal(err.Error(), `service "d": conflict: free is e's`)
	_, err = b.Plan(served, []registry.Wish{wish("d", "free")})
	is.NoErr(err) // it does not look at what is reserved
}

// impose imposes on services of t what made has of them. The second result has those that
// have failed, by name and in order, with why.
func impose(b *book, t *table, services []string, made map[string]*edition) (now map[string]*edition, failed []string, err error) {
	now, err = b.Impose(t, services, func(service string, current *edition) (*edition, error) {
		if current != t.Services()[service] {
			return nil, errors.New("it is not what was there")
		}
		return made[service], nil
	}, func(v, current *edition, err error) *edition {
		failed = append(failed, fmt.Sprintf("%s %d after %v: %v", v.service, v.generation, current != nil, err))
		return with(v.service, v.generation)
	})
	return now, failed, err
}

func TestImposedVersionsFailThatWantWhatOthersHave(t *testing.T) {
	is := is.New(t)
	served := after(newTable(10), of("web", 1), of("api", 2), of("gone", 3))
	b := newBook(served)
	services := []string{"shop", "gone", "api"}
	now, failed, err := impose(b, served, services, map[string]*edition{"shop": with("shop", 7, "gone"), "api": of("api", 8)})
	is.NoErr(err) // gone is taken out
	is.Equal(failed, nil)
	is.Equal(len(now), 2)
	is.Equal(now["shop"].Claims, hosts("gone").Claims)

	now, failed, err = impose(b, served, services, map[string]*edition{"shop": with("shop", 7, "web"), "api": with("api", 8, "free")})
	is.Equal(failed, []string{"shop 7 after false: conflict: web is web's"})
	is.Equal(err.Error(), `service "shop": conflict: web is web's`)
	is.True(errors.Is(err, errConflict))
	is.Equal(len(now["shop"].Claims), 0) // what fail has returned
	is.Equal(now["api"].Claims, hosts("free").Claims)

	_, failed, _ = impose(b, served, services, map[string]*edition{"shop": with("shop", 7, "x"), "api": with("api", 8, "x")})
	is.Equal(failed, []string{"api 8 after true: conflict: x is shop's", "shop 7 after false: conflict: x is api's"})
}

func TestImposedServiceThatCannotBecomeWhatItShouldIsTold(t *testing.T) {
	is := is.New(t)
	served := after(newTable(10), of("web", 1))
	now, err := newBook(served).Impose(served, []string{"web", "api"}, func(service string, current *edition) (*edition, error) {
		if service == "api" {
			return nil, errConflict
		}
		return current, nil
	}, nil)
	is.Equal(err.Error(), `service "api": conflict`)
	is.Equal(now, map[string]*edition{"web": served.Services()["web"]})
}

func TestImposedVersionsOverruleTheChangesThatDoNotGoWithThem(t *testing.T) {
	served := after(newTable(10), of("web", 1), of("api", 2), of("gone", 3))
	for _, tt := range []struct {
		name    string
		service string
		wants   routing.Wants
		cause   error // nil: the change goes on
		text    string
	}{
		{"of a service that has another number", "web", hosts("web"), errSuperseded, "superseded by generation 41 of the service, which was deployed through another proxy"},
		{"of a service that is new", "new", hosts("new"), errSuperseded, "superseded by generation 40 of the service, which was deployed through another proxy"},
		{"of a service with the same number", "api", hosts("api"), nil, ""},
		{"of a service that is taken out", "gone", hosts("gone"), errSuperseded, "superseded by a remove of the service, through another proxy"},
		{"of a service that was not there", "absent", hosts("absent"), nil, ""},
		{"of another service, for a host of theirs", "shop", hosts("taken"), errConflict, "conflict: taken is web's"},
		{"of another service, for a host of its own", "shop", hosts("free"), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			b := newBook(served)
			_, ctx := reserve(t, b, tt.service, tt.wants)
			_, _, err := impose(b, served, []string{"web", "new", "api", "gone", "absent"},
				map[string]*edition{"web": with("web", 41, "taken"), "new": with("new", 40, "other"), "api": of("api", 2)})
			is.NoErr(err)
			if tt.cause == nil {
				is.NoErr(ctx.Err())
			} else {
				is.True(errors.Is(context.Cause(ctx), tt.cause))
				is.Equal(context.Cause(ctx).Error(), tt.text)
			}
			later, _ := reserve(t, b, "later", hosts("later"))
			is.Equal(later.Number, uint64(42))
		})
	}
}
