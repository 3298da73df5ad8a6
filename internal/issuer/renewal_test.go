package issuer_test

import (
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/issuer"
)

// An adviser is what an authority suggests about renewals.
type adviser struct {
	mu         sync.Mutex // guards what follows
	start, end time.Time
	retryAfter time.Duration
	asked      []string
}

func (a *adviser) renewal(certificate string) (start, end time.Time, retryAfter time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, certificate)
	return a.start, a.end, a.retryAfter
}

// suggest has the authority suggest a window from now on.
func (a *adviser) suggest(start, end time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.start, a.end = start, end
}

// questions returns how often it was asked, and for which certificate at last.
func (a *adviser) questions() (n int, last string) {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.asked) == 0 {
		return 0, ""
	}
	return len(a.asked), a.asked[len(a.asked)-1]
}

// newAdvisedScene returns a scene whose authority suggests what the adviser says, and a
// name that has a certificate of it.
func newAdvisedScene(t *testing.T) (*scene, *adviser, *issuer.Name) {
	s, a := newScene(t), new(adviser)
	a.suggest(time.Now().Add(50*24*time.Hour), time.Now().Add(52*24*time.Hour))
	s.ca.Renewal = a.renewal
	n := s.openAnswering(nil, nil).Want("app.test")
	if _, err := n.Await(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	return s, a, n
}

const day = 24 * time.Hour

func TestCertificateIsRenewedWhenTheAuthoritySuggestsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, a, n := newAdvisedScene(t)
		leaf := n.Certificate().Leaf
		time.Sleep(time.Minute)
		asked, id := a.questions()
		is.Equal(asked, 1) // soon, but not at once
		key, serial, _ := strings.Cut(id, ".")
		is.Equal(key, base64.RawURLEncoding.EncodeToString(leaf.AuthorityKeyId))
		decoded, err := base64.RawURLEncoding.DecodeString(serial)
		is.NoErr(err)
		is.Equal(strings.TrimLeft(string(decoded), "\x00"), string(leaf.SerialNumber.Bytes()))
		is.True(decoded[0] < 0x80) // it is a positive number

		next := n.Status().Next
		is.True(next.After(a.start) && next.Before(a.end))
		time.Sleep(7 * time.Hour)
		is.Equal(n.Status().Next, next) // as long as the window is the same
		time.Sleep(time.Until(next) - time.Minute)
		is.Equal(s.ca.Orders("app.test"), 1)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		is.Equal(s.ca.Orders("app.test"), 2)
		is.Equal(s.ca.Replaced(), []string{id}) // the authority was told which
	})
}

// One that it has not issued, or that another machine has replaced meanwhile.
func TestOrderIsMadeWithoutWhatTheAuthorityDoesNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, a, n := newAdvisedScene(t)
		time.Sleep(time.Minute)
		_, id := a.questions()
		is.True(s.ca.Replace(id)) // by somebody else
		first := n.Certificate()
		time.Sleep(time.Until(n.Status().Next) + time.Minute)
		synctest.Wait()
		is.True(n.Certificate() != first)
		is.Equal(n.Status().Err, nil)
		is.Equal(s.ca.Orders("app.test"), 3) // one was refused
	})
}

func TestRetryAfterIsObeyedForARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, _, n := newAdvisedScene(t)
		time.Sleep(time.Minute)
		s.ca.RateLimit(3 * time.Hour)
		time.Sleep(time.Until(n.Status().Next) + time.Minute)
		synctest.Wait()
		is.Equal(s.ca.Orders("app.test"), 2) // 429 is not repeated at once
		is.True(strings.Contains(n.Status().Err.Error(), "too many orders"))
		is.True(time.Until(n.Status().Next) > 2*time.Hour)
		s.ca.RateLimit(0)
		time.Sleep(4 * time.Hour)
		is.Equal(n.Status().Err, nil)
		is.Equal(len(s.ca.Replaced()), 1)
	})
}

func TestWindowInThePastRenewsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, a, n := newAdvisedScene(t)
		time.Sleep(time.Minute)
		a.suggest(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)) // as for one that is revoked
		first := n.Certificate()
		time.Sleep(6*time.Hour + time.Minute)
		synctest.Wait()
		is.True(n.Certificate() != first)
		is.Equal(s.ca.Orders("app.test"), 2)

		time.Sleep(24 * time.Hour) // it says so of each new one
		is.True(s.ca.Orders("app.test") <= 6)
	})
}

func TestAuthorityIsAskedAgainWhenItSays(t *testing.T) {
	for name, tt := range map[string]struct {
		retryAfter time.Duration
		want       int // questions in the 30 h after the first
	}{
		"nothing":   {0, 5},
		"an hour":   {time.Hour, 30},
		"a second":  {time.Second, 30 * 60},
		"ten years": {3650 * day, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				_, a, _ := newAdvisedScene(t)
				a.mu.Lock()
				a.retryAfter = tt.retryAfter
				a.mu.Unlock()
				time.Sleep(time.Minute)
				before, _ := a.questions()
				time.Sleep(30*time.Hour - time.Minute)
				after, _ := a.questions()
				is.True(after-before >= tt.want-2 && after-before <= tt.want)
			})
		})
	}
}

func TestSuggestionThatMakesNoSenseIsPassedOver(t *testing.T) {
	for name, tt := range map[string]struct{ start, end time.Duration }{
		"ends before it begins": {3 * day, 2 * day},
		"is empty":              {3 * day, 3 * day},
		"after the end":         {91 * day, 93 * day},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				_, a, n := newAdvisedScene(t)
				a.suggest(time.Now().Add(tt.start), time.Now().Add(tt.end))
				time.Sleep(time.Minute)
				asked, _ := a.questions()
				is.Equal(asked, 1)
				is.Equal(n.Status().Next, n.Certificate().Leaf.NotAfter.Add(-30*day))
			})
		})
	}
}

func TestAuthorityThatCannotBeAskedChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, a, n := newAdvisedScene(t)
		s.ca.Down(true)
		time.Sleep(time.Hour)
		is.Equal(n.Status().Next, n.Certificate().Leaf.NotAfter.Add(-30*day))
		is.Equal(n.Status().Err, nil)
		s.ca.Down(false)
		time.Sleep(6 * time.Hour)
		asked, _ := a.questions()
		is.Equal(asked, 1)
		is.True(n.Status().Next.Before(a.end))
	})
}

func TestCertificateOfTheCacheIsAskedAboutWhenNobodyElseOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, a, cache := newScene(t), new(adviser), new(memory)
		a.suggest(time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
		s.ca.Renewal = a.renewal
		first := s.openAnswering(cache, nil)
		_, err := first.Want("app.test").Await(within(t, time.Second))
		is.NoErr(err)
		first.Close()

		hold := make(chan struct{})
		i := issuer.New(issuer.Options{Directory: s.url, Cache: cache, Transport: s.ca.Client(t, s.net).Transport, Hold: hold})
		defer i.Close()
		_, err = i.Want("app.test").Await(within(t, time.Second))
		is.NoErr(err)
		time.Sleep(30 * time.Minute)
		asked, _ := a.questions()
		is.Equal(asked, 0)
		close(hold)
		time.Sleep(2 * time.Minute)
		asked, _ = a.questions()
		is.Equal(asked, 1)
	})
}

// With what is left of it, it could be renewed at once, and so could the next one.
func TestCertificateThatIsIssuedLateInItsLifeIsNotRenewedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		s.ca.Backdate = 59 * time.Minute
		s.ca.Lifetime = time.Hour
		i := s.openAnswering(nil, nil)
		_, err := i.Want("app.test").Await(within(t, time.Second))
		is.NoErr(err)
		time.Sleep(59 * time.Second)
		is.True(s.ca.Orders("app.test") <= 10)
		is.True(s.ca.Orders("app.test") > 2)
	})
}
