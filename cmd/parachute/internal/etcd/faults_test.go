package etcd_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/etcd"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// impatient is c with a time limit that a test can wait for.
func impatient(c etcd.Config) etcd.Config {
	c.Timeout = time.Second
	return c
}

// commit puts a key, and says how that went.
func commit(t *testing.T, s *etcd.Store, key string) error {
	_, ok, err := s.Commit(t.Context(), nil, []kv.Write{kv.Put(key, nil, 0)})
	if err == nil && !ok {
		t.Error("a commit without conditions was not done")
	}
	return err
}

// Nobody need read back what was never sent.
func TestCommitThatNeverGotAConnectionIsNoUnknownOutcome(t *testing.T) {
	is := is.New(t)
	e := proxytest.StartEtcd(t, program)
	e.Kill()
	s := open(t, impatient(at(e)))
	eventually(t, func() error { // there is an answer after a while
		err := commit(t, s, "a")
		is.True(errors.Is(err, kv.ErrUnreachable))
		is.True(!errors.Is(err, kv.ErrUnknown))
		if err.Error() != "etcd at "+e.URL+": the store cannot be reached: dial tcp "+
			strings.TrimPrefix(e.URL, "http://")+": connect: connection refused" {
			return err
		}
		return nil
	})
	_, _, err := s.Read(t.Context(), "")
	is.True(errors.Is(err, kv.ErrUnreachable))

	e.Start(t)
	is.NoErr(commit(t, open(t, at(e)), "a"))
}

func TestCommitWithoutAnAnswerIsAnUnknownOutcome(t *testing.T) {
	is := is.New(t)
	e := proxytest.StartEtcd(t, program)
	s := open(t, impatient(at(e)))
	eventually(t, func() error { return commit(t, s, "a") })
	is.NoErr(e.Freeze())
	var err error
	for err == nil { // the signal may take a moment
		err = commit(t, s, "b")
	}
	is.True(errors.Is(err, kv.ErrUnknown))
	is.True(errors.Is(err, kv.ErrUnreachable))
	is.True(strings.HasSuffix(err.Error(), "no answer within 1s"))
	_, err = s.Renew(t.Context(), 1)
	is.True(errors.Is(err, kv.ErrUnreachable))
	is.NoErr(e.Thaw())
	eventually(t, func() error { return commit(t, s, "c") })
}

func TestWatchGoesOnWithoutAGapWhenEtcdIsKilledAndStartedAgain(t *testing.T) {
	is := is.New(t)
	e := proxytest.StartEtcd(t, program)
	s := open(t, at(e))
	seen, ended := make(chan string, 10), make(chan error, 1)
	enough := errors.New("enough")
	go func() {
		ended <- s.Watch(t.Context(), "", 0, func(_ int64, changes []kv.Change) error {
			seen <- changes[0].Key
			if changes[0].Key == "c" {
				return enough
			}
			return nil
		})
	}()
	is.NoErr(commit(t, s, "a"))
	is.Equal(<-seen, "a")
	e.Kill()
	e.Start(t)
	other := open(t, at(e)) // whose connection does not have to come back first
	is.NoErr(commit(t, other, "b"))
	is.NoErr(commit(t, other, "c"))
	is.Equal(<-seen, "b")
	is.Equal(<-seen, "c")
	is.Equal(<-ended, enough)
}

// With three members, one may be lost, whichever it is; with two lost, nothing is done.
func TestEtcdOfThreeMembersMayLoseOne(t *testing.T) {
	is := is.New(t)
	members := proxytest.StartEtcdMembers(t, 3, program)
	c := etcd.Config{Prefix: "/parachute/test"}
	for _, e := range members {
		c.Endpoints = append(c.Endpoints, e.URL)
	}
	s := open(t, c)
	lease, err := s.Grant(t.Context(), 30*time.Second)
	is.NoErr(err)
	_, ok, err := s.Commit(t.Context(), nil, []kv.Write{kv.Put("of the lease", nil, lease)})
	is.NoErr(err)
	is.True(ok)
	seen := make(chan string, 100)
	enough := errors.New("enough")
	ended := make(chan error, 1)
	_, before, err := s.Read(t.Context(), "")
	is.NoErr(err)
	go func() {
		ended <- s.Watch(t.Context(), "key", before, func(_ int64, changes []kv.Change) error {
			if seen <- changes[0].Key; changes[0].Key == "key-3" {
				return enough
			}
			return nil
		})
	}()
	for i, e := range members {
		e.Kill()
		eventually(t, func() error { return commit(t, s, fmt.Sprintf("key-%d", i)) })
		eventually(t, func() error { _, err := s.Renew(t.Context(), lease); return err })
		e.Start(t)
	}
	eventually(t, func() error { return commit(t, s, "key-3") })
	is.Equal(<-ended, enough)
	close(seen)
	var keys []string
	for key := range seen {
		if len(keys) == 0 || keys[len(keys)-1] != key { // one that was not known to be put was put again
			keys = append(keys, key)
		}
	}
	is.Equal(keys, []string{"key-0", "key-1", "key-2", "key-3"})
	pairs, _, err := s.Read(t.Context(), "of the lease")
	is.NoErr(err)
	is.Equal(len(pairs), 1)

	members[0].Kill()
	members[1].Kill()
	lonely := open(t, impatient(c))
	is.True(errors.Is(commit(t, lonely, "key-4"), kv.ErrUnreachable))
	_, _, err = lonely.Read(t.Context(), "")
	is.True(errors.Is(err, kv.ErrUnreachable)) // and not what the last one happens to know
}

// Its revisions begin again, and would be waited for in vain.
func TestWatchOfAnEtcdThatHasLostItsRevisionsReadsAnew(t *testing.T) {
	is := is.New(t)
	e := proxytest.StartEtcd(t, program)
	before := open(t, at(e))
	is.NoErr(commit(t, before, "a"))
	is.NoErr(commit(t, before, "a"))
	_, revision, err := before.Read(t.Context(), "")
	is.NoErr(err)
	e.Kill()
	is.NoErr(e.Forget())
	e.Start(t)
	s := open(t, at(e))
	err = s.Watch(t.Context(), "", revision, func(int64, []kv.Change) error { return nil })
	is.Equal(err, kv.ErrCompacted)
}

func TestFullEtcdSaysWhatToDo(t *testing.T) {
	is := is.New(t)
	e := proxytest.StartEtcd(t, program, "--quota-backend-bytes", "1000000")
	s := open(t, at(e))
	value := make([]byte, 400_000)
	var err error
	for err == nil {
		_, _, err = s.Commit(t.Context(), nil, []kv.Write{kv.Put("a", value, 0)})
	}
	is.True(strings.Contains(err.Error(), "has no space left for its database"))
	is.True(strings.Contains(err.Error(), "etcdctl alarm disarm"))
	is.True(errors.Is(err, kv.ErrUnknown)) // what takes the last space may be done
	_, _, err = s.Read(t.Context(), "")
	is.NoErr(err)
}

func TestUserIsToldWhatEtcdDoesNotLetThemDo(t *testing.T) {
	is := is.New(t)
	e := proxytest.StartEtcd(t, program)
	admin := client(t, e)
	must := func(err error) {
		t.Helper()
		is.NoErr(err)
	}
	_, err := admin.UserAdd(t.Context(), "root", "secret")
	must(err)
	_, err = admin.UserGrantRole(t.Context(), "root", "root")
	must(err)
	_, err = admin.UserAdd(t.Context(), "proxy", "secret")
	must(err)
	_, err = admin.RoleAdd(t.Context(), "proxies")
	must(err)
	_, err = admin.RoleGrantPermission(t.Context(), "proxies", "/parachute/test/", "/parachute/test0", 2) // readwrite
	must(err)
	_, err = admin.UserGrantRole(t.Context(), "proxy", "proxies")
	must(err)

	// Whoever starts while etcd is away is let in later.
	e.Kill()
	c := at(e)
	c.User, c.Password = "proxy", "secret"
	s := open(t, impatient(c))
	is.True(errors.Is(commit(t, s, "a"), kv.ErrUnreachable))
	e.Start(t)
	_, err = admin.AuthEnable(t.Context())
	must(err)
	eventually(t, func() error { return commit(t, s, "a") })
	err = s.Watch(t.Context(), "", 0, func(int64, []kv.Change) error { return errors.New("seen") })
	is.Equal(err.Error(), "seen")

	for _, tt := range []struct {
		user, password, prefix string
		want                   string
	}{
		{"proxy", "wrong", "/parachute/test", `does not take the password of user "proxy", or does not know that user`},
		{"nobody", "secret", "/parachute/test", `does not take the password of user "nobody", or does not know that user`},
		{"proxy", "secret", "/parachute/other", `does not let user "proxy" at the keys below /parachute/other/: grant a role readwrite there, with --prefix`},
		{"", "", "/parachute/test", "wants a user and a password, and none are given"},
	} {
		stranger := open(t, etcd.Config{Endpoints: []string{e.URL}, Prefix: tt.prefix, User: tt.user, Password: tt.password})
		err := commit(t, stranger, "a")
		is.Equal(err.Error(), "etcd at "+e.URL+" "+tt.want)
		is.True(!errors.Is(err, kv.ErrUnknown))
		is.True(!errors.Is(err, kv.ErrUnreachable))
		err = stranger.Watch(t.Context(), "", 0, func(int64, []kv.Change) error { return nil })
		is.True(err != nil && !errors.Is(err, kv.ErrUnreachable)) // it does not wait for what will not come
	}
}

// eventually returns once ok has no error.
func eventually(t *testing.T, ok func() error) {
	t.Helper()
	late := time.After(time.Minute)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("after a minute still: %v", err)
		}
	}
}

func TestCertificatesAreShownAndVerified(t *testing.T) {
	is := is.New(t)
	ca, dir := proxytest.NewCA(), t.TempDir()
	root := ca.WriteRoot(t, dir)
	cert, key := ca.WritePair(t, dir, "127.0.0.1")
	e := proxytest.StartEtcd(t, program, "--cert-file="+cert, "--key-file="+key, "--trusted-ca-file="+root, "--client-cert-auth")
	c := impatient(at(e))

	own := t.TempDir()
	c.CAFile = root
	c.CertFile, c.KeyFile = ca.WritePair(t, own, "proxy-1.example.com")
	first := open(t, c)
	eventually(t, func() error { return commit(t, first, "a") })

	s := open(t, c) // which reads what was renewed meanwhile
	ca.WritePair(t, own, "proxy-2.example.com")
	eventually(t, func() error { return commit(t, s, "a") })

	stranger := c
	stranger.CertFile, stranger.KeyFile = proxytest.NewCA().WritePair(t, t.TempDir(), "proxy.example.com")
	err := commit(t, open(t, stranger), "a")
	is.True(errors.Is(err, kv.ErrUnreachable))

	stranger = c
	stranger.CAFile = proxytest.NewCA().WriteRoot(t, t.TempDir())
	s = open(t, stranger)
	eventually(t, func() error { // there is an answer after a while
		err := commit(t, s, "a")
		is.True(errors.Is(err, kv.ErrUnreachable))
		if !strings.Contains(err.Error(), "certificate signed by unknown authority") {
			return err
		}
		return nil
	})
}

func TestFilesThatAreOfNoUseAreNamedAtTheStart(t *testing.T) {
	is := is.New(t)
	ca, dir := proxytest.NewCA(), t.TempDir()
	c := etcd.Config{Endpoints: []string{"https://127.0.0.1:1"}, Prefix: "/p"}
	c.CertFile, c.KeyFile = ca.WritePair(t, dir, "a.example.com")
	swapped := c
	swapped.CertFile, swapped.KeyFile = c.KeyFile, c.CertFile
	_, err := etcd.Open(swapped)
	is.True(err != nil && strings.HasPrefix(err.Error(), c.KeyFile+" and "+c.CertFile+": "))
	c.CAFile = c.KeyFile
	_, err = etcd.Open(c)
	is.Equal(err.Error(), c.KeyFile+" has no certificate in it: want one in PEM form")
	c.CAFile = dir + "/none"
	_, err = etcd.Open(c)
	is.True(err != nil && strings.Contains(err.Error(), "no such file"))
}

func TestConfigThatCannotBeMeantIsRefused(t *testing.T) {
	one, two := "http://10.0.0.1:2379", "https://10.0.0.2:2379"
	for _, tt := range []struct {
		name string
		c    etcd.Config
		want string
	}{
		{"one", etcd.Config{Endpoints: []string{one}, Prefix: "/p"}, ""},
		{"a slash", etcd.Config{Endpoints: []string{one + "/"}, Prefix: "/p/"}, ""},
		{"secured", etcd.Config{Endpoints: []string{two}, Prefix: "/p", CAFile: "ca", CertFile: "c", KeyFile: "k"}, ""},
		{"none", etcd.Config{Prefix: "/p"}, "no etcd is named"},
		{"no scheme", etcd.Config{Endpoints: []string{"10.0.0.1:2379"}, Prefix: "/p"}, "is no URL of an etcd"},
		{"no port", etcd.Config{Endpoints: []string{"http://10.0.0.1"}, Prefix: "/p"}, "is no URL of an etcd"},
		{"a path", etcd.Config{Endpoints: []string{one + "/v3"}, Prefix: "/p"}, "is no URL of an etcd"},
		{"a password", etcd.Config{Endpoints: []string{"http://a:b@10.0.0.1:2379"}, Prefix: "/p"}, "is no URL of an etcd"},
		{"both", etcd.Config{Endpoints: []string{one, two}, Prefix: "/p"}, "want the same for all servers"},
		{"an authority in the clear", etcd.Config{Endpoints: []string{one}, Prefix: "/p", CAFile: "ca"}, "want https"},
		{"a key alone", etcd.Config{Endpoints: []string{two}, Prefix: "/p", KeyFile: "k"}, "want both, or neither"},
		{"no prefix", etcd.Config{Endpoints: []string{one}, Prefix: "/"}, "no prefix is named"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			err := tt.c.Check()
			if tt.want == "" {
				is.NoErr(err)
				return
			}
			is.True(err != nil && strings.Contains(err.Error(), tt.want))
		})
	}
}

func TestClosedStoreAnswersNoCall(t *testing.T) {
	is := is.New(t)
	e := proxytest.StartEtcd(t, program)
	for _, isUsed := range []bool{false, true} {
		s := open(t, at(e))
		ended := make(chan error, 1)
		if isUsed {
			is.NoErr(commit(t, s, "a"))
			seen := make(chan struct{}, 1)
			go func() {
				ended <- s.Watch(t.Context(), "", 0, func(int64, []kv.Change) error { seen <- struct{}{}; return nil })
			}()
			<-seen
		} else {
			ended <- errors.New("closed")
		}
		is.NoErr(s.Close())
		is.NoErr(s.Close())
		is.True(strings.HasSuffix((<-ended).Error(), "closed"))
		err := commit(t, s, "b")
		is.Equal(err.Error(), "the connection to etcd is closed")
		is.True(!errors.Is(err, kv.ErrUnknown))
	}
}
