package credentials_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"
	"golang.org/x/crypto/bcrypt"

	"github.com/shahnk19/parachute/internal/credentials"
)

func TestAllowsTheRightPairsAlone(t *testing.T) {
	users := load(t, make(chan struct{}, 1), line(t, "ann", "secret"), line(t, "bob", "a:b"), line(t, "é", ""))
	for _, tt := range []struct {
		name, user, password string
		want                 bool
	}{
		{"right", "ann", "secret", true},
		{"a colon in the password", "bob", "a:b", true},
		{"an empty password that is right", "é", "", true},
		{"wrong", "ann", "Secret", false},
		{"empty", "ann", "", false},
		{"another's", "ann", "a:b", false},
		{"more than the password", "ann", "secret ", false},
		{"name in another case", "Ann", "secret", false},
		{"nobody", "eve", "secret", false},
		{"no name", "", "secret", false},
		{"too long", "ann", strings.Repeat("x", 1000), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			for range 2 { // checked, and remembered
				got, err := users.Allows(t.Context(), basic(tt.user, tt.password))
				is.NoErr(err)
				is.Equal(got, tt.want)
			}
		})
	}
}

func TestAllowsBasicAuthenticationAlone(t *testing.T) {
	users := load(t, make(chan struct{}, 1), line(t, "ann", "secret"))
	pair := base64.StdEncoding.EncodeToString([]byte("ann:secret"))
	for _, tt := range []struct {
		fields []string
		want   bool
	}{
		{[]string{"Basic " + pair}, true},
		{[]string{"bASIC " + pair}, true},
		{nil, false},
		{[]string{""}, false},
		{[]string{"Basic"}, false},
		{[]string{"Basic "}, false},
		{[]string{"Basic" + pair}, false},
		{[]string{"Bearer " + pair}, false},
		{[]string{pair}, false},
		{[]string{"Basic ann:secret"}, false},
		{[]string{"Basic " + strings.TrimRight(pair, "=") + "!"}, false},
		{[]string{"Basic " + base64.StdEncoding.EncodeToString([]byte("ann"))}, false},
		{[]string{"Basic " + pair, "Basic " + pair}, false},
		{[]string{"Basic " + strings.Repeat("A", 60_000)}, false},
	} {
		is := is.New(t)
		got, err := users.Allows(t.Context(), http.Header{"Authorization": tt.fields})
		is.NoErr(err)
		is.Equal(got, tt.want)
	}
}

func TestLongPasswordsOfHtpasswdAreTaken(t *testing.T) {
	is := is.New(t)
	name, password := strings.Repeat("n", 255), strings.Repeat("p", 255)
	users := load(t, make(chan struct{}, 1), line(t, name, password[:72])) // which is all that bcrypt looks at
	got, err := users.Allows(t.Context(), basic(name, password))
	is.NoErr(err)
	is.True(got)
}

// The pair is the one of Apache's documentation.
func TestHashesOfHtpasswdAreTaken(t *testing.T) {
	is := is.New(t)
	users := load(t, make(chan struct{}, 1), "myName:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC")
	got, err := users.Allows(t.Context(), basic("myName", "myPassword"))
	is.NoErr(err)
	is.True(got)
}

func TestOnlyNewPairsWaitForAWorkingCore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		checks := make(chan struct{}, 1)
		users := load(t, checks, line(t, "ann", "secret"), line(t, "bob", "other"))
		others := load(t, checks, line(t, "ann", "secret"))
		is.True(<-ask(t.Context(), users, "ann", "secret"))
		is.True(!<-ask(t.Context(), users, "ann", "wrong"))
		is.True(!<-ask(t.Context(), users, "eve", "wrong"))

		checks <- struct{}{} // a check runs
		waiting := []<-chan bool{
			ask(t.Context(), users, "bob", "other"),
			ask(t.Context(), users, "bob", "wrong"),
			ask(t.Context(), users, "eve", "new"), // as if there was one
			ask(t.Context(), others, "ann", "secret"),
		}
		is.True(<-ask(t.Context(), users, "ann", "secret")) // known to be right
		is.True(!<-ask(t.Context(), users, "ann", "wrong")) // known to be wrong
		is.True(!<-ask(t.Context(), users, "eve", "wrong")) // known to be wrong
		synctest.Wait()
		for _, w := range waiting {
			select {
			case <-w:
				t.Error("a new pair did not wait")
			default:
			}
		}
		<-checks
		for i, want := range []bool{true, false, false, true} {
			is.Equal(<-waiting[i], want)
		}
	})
}

func TestWhoGivesUpLearnsNothing(t *testing.T) {
	is := is.New(t)
	checks := make(chan struct{}, 1)
	users := load(t, checks, line(t, "ann", "secret"))
	late := errors.New("late")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(late)
	checks <- struct{}{}
	for _, user := range []string{"ann", "eve"} {
		got, err := users.Allows(ctx, basic(user, "secret"))
		is.True(errors.Is(err, late)) // the cause
		is.True(!got)
	}
	<-checks
	got, err := users.Allows(t.Context(), basic("ann", "secret"))
	is.NoErr(err)
	is.True(got) // giving up was not remembered as wrong
	is.Equal(len(checks), 0)
}

// ask asks in a goroutine of its own, and sends what was answered.
func ask(ctx context.Context, users *credentials.Users, name, password string) <-chan bool {
	answer := make(chan bool, 1)
	go func() {
		allowed, err := users.Allows(ctx, basic(name, password))
		answer <- allowed && err == nil
	}()
	return answer
}

// FuzzAllows compares with what net/http understands. Only the pair that is
// remembered can be answered, as the core is busy.
func FuzzAllows(f *testing.F) {
	pair := base64.StdEncoding.EncodeToString([]byte("ann:secret"))
	f.Add("Basic " + pair)
	f.Add("basic  " + pair)
	f.Add("Basic " + pair + "=")
	f.Add("Basic YW5uOnNlY3JldA")
	f.Add("Basic Og==")
	checks := make(chan struct{}, 1)
	users := load(f, checks, line(f, "ann", "secret"))
	if ok, err := users.Allows(context.Background(), basic("ann", "secret")); !ok {
		f.Fatal(ok, err)
	}
	checks <- struct{}{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, field string) {
		r := &http.Request{Header: http.Header{"Authorization": {field}}}
		name, password, ok := r.BasicAuth()
		got, err := users.Allows(ctx, r.Header)
		if want := name == "ann" && password == "secret"; got != want || got && err != nil {
			t.Errorf("%q is allowed: %v (%v), want %v", field, got, err, want)
		}
		if !ok && err != nil {
			t.Errorf("%q is no pair, and would be checked", field)
		}
	})
}

func BenchmarkKnownPair(b *testing.B) {
	users := load(b, make(chan struct{}, 1), line(b, "ann", "secret"))
	h := basic("ann", "secret")
	b.ReportAllocs()
	for b.Loop() {
		users.Allows(b.Context(), h)
	}
}

func BenchmarkKnownPairParallel(b *testing.B) {
	users := load(b, make(chan struct{}, 1), line(b, "ann", "secret"))
	h := basic("ann", "secret")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			users.Allows(b.Context(), h)
		}
	})
}

func basic(name, password string) http.Header {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, password)
	return r.Header
}

// line is what htpasswd -B makes, at the lowest cost.
func line(tb testing.TB, name, password string) string {
	tb.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		tb.Fatal(err)
	}
	return name + ":" + strings.Replace(string(hash), "$2a$", "$2y$", 1)
}

func load(tb testing.TB, checks chan struct{}, lines ...string) *credentials.Users {
	tb.Helper()
	users, err := credentials.Load(write(tb, strings.Join(lines, "\n")), checks)
	if err != nil {
		tb.Fatal(err)
	}
	return users
}

func write(tb testing.TB, data string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "users")
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}
