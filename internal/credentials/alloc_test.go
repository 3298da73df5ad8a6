//go:build !race

package credentials_test

import (
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/credentials"
)

func TestAKnownPairAllocatesNothing(t *testing.T) {
	is := is.New(t)
	users := load(t, make(chan struct{}, 1), line(t, "ann", "secret"))
	right, wrong := basic("ann", "secret"), basic("ann", "wrong password that is much longer than the right one")
	is.Equal(testing.AllocsPerRun(100, func() {
		users.Allows(t.Context(), right)
		users.Allows(t.Context(), wrong)
	}), 0.0)
}

// An unknown name is worth a check as well: it allocates what bcrypt does.
func TestAnUnknownNameAllocatesAsMuchAsAWrongPassword(t *testing.T) {
	is := is.New(t)
	users := load(t, make(chan struct{}, 1), line(t, "ann", "secret"))
	n := 0
	measure := func(name string) float64 {
		return testing.AllocsPerRun(20, func() {
			n++ // a new pair each time
			users.Allows(t.Context(), basic(name, strconv.Itoa(1000+n)))
		})
	}
	wrong := measure("ann")
	is.Equal(measure("eve"), wrong)
	none := testing.AllocsPerRun(20, func() { users.Allows(t.Context(), basic("ann", "secret")) })
	is.True(none < wrong) // which is more than without a check
}

// Browsers send several requests at once.
func TestAPairAllocatesOneCheckForAllWhoWaitWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alike := allocsOfWaiting(t, func(int) string { return "secret" })
		different := allocsOfWaiting(t, strconv.Itoa)
		is.True(2*alike < different)
	})
}

// allocsOfWaiting has twenty wait for a check with these passwords.
func allocsOfWaiting(t *testing.T, password func(i int) string) float64 {
	checks := make(chan struct{}, 1)
	users := []*credentials.Users{
		load(t, checks, line(t, "ann", "secret")),
		load(t, checks, line(t, "ann", "secret")),
	}
	return testing.AllocsPerRun(len(users)-1, func() {
		var waiting []<-chan bool
		checks <- struct{}{} // a check runs
		for i := range 20 {
			waiting = append(waiting, ask(t.Context(), users[0], "ann", password(i)))
		}
		synctest.Wait()
		<-checks
		for _, w := range waiting {
			<-w
		}
		users = users[1:]
	})
}
