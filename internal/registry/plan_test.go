package registry_test

import (
	"errors"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/registry"
)

func wish(service string, claims ...string) registry.Wish {
	return registry.Wish{Change: change(service, claims...)}
}

func removal(service string) registry.Wish {
	return registry.Wish{Change: registry.Change{Service: service, Part: first | second}}
}

func servicesOf(wishes []registry.Wish) (all []string) {
	for _, w := range wishes {
		all = append(all, w.Service)
	}
	return all
}

func TestPlanHasEachServiceOnceByName(t *testing.T) {
	is := is.New(t)
	served := after(newTable(10), with("web", 1, "old"), of("api", 2), of("shop", 3))
	kept := wish("shop", "taken") // which it has not to reserve
	kept.IsKept = true
	planned, err := newBook(served).Plan(served, []registry.Wish{wish("web", "api"), kept, wish("new", "old"), removal("api"), removal("api"), removal("none")})
	is.NoErr(err)
	is.Equal(servicesOf(planned), []string{"api", "new", "shop", "web"})
	is.True(planned[0].Wants == nil)
	is.True(planned[2].IsKept)
}

func TestPlanTellsOfEveryServiceThatIsWhyItCannotBe(t *testing.T) {
	served := after(newTable(10), of("web", 1), of("api", 2))
	broken := wish("broken", "x")
	broken.Err = errors.New("broken")
	for _, tt := range []struct {
		wishes []registry.Wish
		want   string
	}{
		{[]registry.Wish{wish("a", "x"), wish("a", "y"), broken}, `service "a": it is there twice; service "broken": broken`},
		{[]registry.Wish{wish("api", "x"), removal("api")}, `service "api": it is to be deployed and to be removed`},
		{[]registry.Wish{removal("api"), wish("api", "x")}, `service "api": it is to be deployed and to be removed`},
		{[]registry.Wish{broken, wish("a", "web")}, `service "broken": broken`}, // the others are not looked at yet
		{[]registry.Wish{wish("a", "web"), removal("api")}, `service "a": conflict: web is web's`},
	} {
		t.Run(tt.want, func(t *testing.T) {
			is := is.New(t)
			_, err := newBook(served).Plan(served, tt.wishes)
			is.Equal(err.Error(), tt.want)
		})
	}
	is := is.New(t)
	_, err := newBook(served).Plan(served, []registry.Wish{wish("a", "x"), wish("a", "x")})
	is.True(errors.Is(err, errInvalid))
}
