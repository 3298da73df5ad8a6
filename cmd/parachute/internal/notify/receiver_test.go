package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/notify"
)

// hmacOf returns the signature of a body.
func hmacOf(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// since returns when requests came, from the first one on.
func since(got []request) (all []time.Duration) {
	for _, r := range got {
		all = append(all, r.at.Sub(got[0].at))
	}
	return all
}

func TestReceiverThatFailsIsTriedAgainWithPausesThatGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		const fails = 9
		r := s.receiver(t, "hooks:80", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n < fails {
				w.WriteHeader(http.StatusBadGateway)
			}
		})
		n := s.notifier(t, notify.Config{}, "http://hooks/")
		n.Serve("first")
		n.Notify(switched(2))
		time.Sleep(9 * time.Minute)
		texts := r.texts(t)
		is.Equal(len(texts), fails+2)
		for _, text := range texts[:fails+1] {
			is.Equal(text, "first") // nothing overtakes it
		}
		is.Equal(texts[fails+1], "web: generation 2 serves at web-2:3000")
		is.Equal(since(r.requests())[:fails+1], seconds(0, 1, 3, 7, 15, 31, 63, 123, 183, 243))
		ids := make(map[any]bool)
		for _, got := range r.requests() {
			ids[decode(t, got.body)["id"]] = true
		}
		is.Equal(len(ids), 2) // each has one, in all attempts
		sent, dropped := counts(n, "hooks")
		is.Equal(sent, uint64(2))
		is.Equal(dropped, uint64(0))
		closeNow(n)
		is.Equal(strings.Count(s.log.String(), "is tried again"), 1) // it is not said each time
		is.Equal(strings.Count(s.log.String(), "taken again"), 1)
	})
}

func seconds(n ...int) (all []time.Duration) {
	for _, s := range n {
		all = append(all, time.Duration(s)*time.Second)
	}
	return all
}

func TestPausesBeginAnewWhenAReceiverIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r := s.receiver(t, "hooks:80", func(n int, w http.ResponseWriter, _ *http.Request) {
			if n != 2 && n != 4 {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		n := s.notifier(t, notify.Config{}, "http://hooks/")
		n.Serve("first")
		n.Notify(switched(2))
		time.Sleep(5 * time.Second)
		is.Equal(since(r.requests()), seconds(0, 1, 3, 3, 4))
	})
}

func TestMessageIsGivenUpAfterTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r := s.receiver(t, "hooks:80", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		n := s.notifier(t, notify.Config{}, "http://hooks/")
		n.Serve("first")
		n.Notify(switched(2))
		time.Sleep(11 * time.Minute)
		texts := r.texts(t)
		is.Equal(texts[0], "first")
		is.Equal(texts[len(texts)-1], "web: generation 2 serves at web-2:3000")
		_, dropped := counts(n, "hooks")
		is.Equal(dropped, uint64(1))
	})
}

func TestAnswerThatWouldStayTheSameIsNotAskedForAgain(t *testing.T) {
	for status, final := range map[int]bool{
		200: true, 204: true, 301: true, 307: true, 400: true, 401: true, 403: true, 404: true, 410: true, 413: true,
		408: false, 425: false, 429: false, 500: false, 502: false, 503: false, 504: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			s := newStage()
			elsewhere := s.receiver(t, "elsewhere:80", nil)
			r := s.receiver(t, "hooks:80", func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://elsewhere/")
				w.WriteHeader(status)
			})
			n := s.notifier(t, notify.Config{}, "http://hooks/")
			n.Serve("first")
			time.Sleep(1500 * time.Millisecond)
			sent, dropped := counts(n, "hooks")
			attempts := len(r.requests())
			t.Logf("%d: %d attempts, %d sent, %d dropped", status, attempts, sent, dropped)
			is.Equal(attempts == 1, final)
			is.Equal(sent == 1, status < 300)
			is.Equal(dropped == 1, final && status >= 300)
			is.Equal(len(elsewhere.requests()), 0) // what is said goes to nobody else
		})
	}
}

func TestReceiverMaySayWhenToComeAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		retryAfter func() string
		want       time.Duration
	}{
		"in seconds":            {func() string { return "20" }, 20 * time.Second},
		"at a time":             {func() string { return time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat) }, 30 * time.Second},
		"sooner than the pause": {func() string { return "0" }, time.Second},
		"long ago":              {func() string { return "Sun, 06 Nov 1994 08:49:37 GMT" }, time.Second},
		"much later":            {func() string { return "7200" }, time.Minute},
		"in other words":        {func() string { return "soon" }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newStage()
				r := s.receiver(t, "hooks:80", func(n int, w http.ResponseWriter, _ *http.Request) {
					if n == 0 {
						w.Header().Set("Retry-After", tt.retryAfter())
						w.WriteHeader(http.StatusTooManyRequests)
					}
				})
				n := s.notifier(t, notify.Config{}, "http://hooks/")
				n.Serve("first")
				time.Sleep(2 * time.Minute)
				is.Equal(since(r.requests()), []time.Duration{0, tt.want})
			})
		})
	}
}

func TestReceiverThatHangsIsGivenUpAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r := s.receiver(t, "hooks:80", func(n int, _ http.ResponseWriter, r *http.Request) {
			if n == 0 {
				<-r.Context().Done()
			}
		})
		n := s.notifier(t, notify.Config{}, "http://hooks/")
		n.Serve("first")
		time.Sleep(time.Minute)
		is.Equal(since(r.requests()), seconds(0, 11)) // 10 s for an answer, and 1 s of pause
	})
}

func TestReceiverThatIsNotThereIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		s.net.Blackhole("hooks:80")
		n := s.notifier(t, notify.Config{}, "http://hooks/", "http://nobody/")
		n.Serve("first")
		time.Sleep(8 * time.Minute)
		is.Equal(s.net.Dials("nobody:80"), 13) // at 0, 1, 3, 7, 15, 31, 63 s, and each minute then
		r := s.receiver(t, "nobody:80", nil)
		time.Sleep(time.Minute)
		is.Equal(len(r.requests()), 1)
		_, dropped := counts(n, "hooks")
		is.Equal(dropped, uint64(0)) // it is being tried
	})
}

func TestOldestAreDroppedWhereTooManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r, down := s.receiverDown(t, "hooks:80")
		n := s.notifier(t, notify.Config{}, "http://hooks/")
		n.Serve("first")
		synctest.Wait() // it is being tried
		for g := range uint64(150) {
			n.Notify(switched(g))
		}
		_, dropped := counts(n, "hooks")
		is.Equal(dropped, uint64(50))
		down.Store(false)
		time.Sleep(time.Minute)
		texts := r.texts(t)[1:]
		is.Equal(len(texts), 101)
		is.Equal(texts[0], "first")
		is.Equal(texts[1], "web: generation 50 serves at web-50:3000")
		is.Equal(texts[100], "web: generation 149 serves at web-149:3000")
	})
}

func TestCloseSendsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r, down := s.receiverDown(t, "hooks:80")
		n := s.notifier(t, notify.Config{}, "http://hooks/")
		n.Serve("first")
		n.Notify(switched(2))
		time.Sleep(20 * time.Second) // the pause goes on until 31 s
		n.Stop("it stops")
		down.Store(false)
		before := len(r.requests())
		began := time.Now()
		n.Close(context.Background())
		is.Equal(time.Since(began), time.Duration(0)) // no pause is waited for
		is.Equal(r.texts(t)[before:], []string{"first", "web: generation 2 serves at web-2:3000", "it stops"})
		sent, dropped := counts(n, "hooks")
		is.Equal(sent, uint64(3))
		is.Equal(dropped, uint64(0))
	})
}

func TestCloseTriesWhatIsLeftOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		r := s.receiver(t, "hooks:80", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		n := s.notifier(t, notify.Config{}, "http://hooks/")
		n.Serve("first")
		n.Notify(switched(2))
		synctest.Wait()
		n.Close(context.Background())
		is.Equal(r.texts(t), []string{"first", "first", "web: generation 2 serves at web-2:3000"})
		sent, dropped := counts(n, "hooks")
		is.Equal(sent, uint64(0))
		is.Equal(dropped, uint64(2))
	})
}

func TestCloseDoesNotWaitForAReceiverThatHangsLongerThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		s.receiver(t, "hooks:80", func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		n := s.notifier(t, notify.Config{}, "http://hooks/")
		n.Serve("first")
		n.Notify(switched(2))
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		n.Close(ctx)
		is.Equal(time.Since(began), 2*time.Second)
		_, dropped := counts(n, "hooks")
		is.Equal(dropped, uint64(2))
	})
}

func TestHostsAreCountedOnceWhateverTheirURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStage()
		s.receiver(t, "hooks:80", nil)
		n := s.notifier(t, notify.Config{}, "http://hooks/a", "http://HOOKS/b")
		n.Serve("first")
		synctest.Wait()
		calls := 0
		n.Counts(func(host string, sent, dropped uint64) {
			calls++
			is.Equal(host, "hooks")
			is.Equal(sent, uint64(2))
		})
		is.Equal(calls, 1)
	})
}
