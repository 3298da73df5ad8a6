package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
)

func TestPlacesFollowFromWhoRunsIt(t *testing.T) {
	for _, test := range []struct {
		name    string
		uid     int
		env     map[string]string
		dataDir string
		sockets []string // the last one is that of a proxy of the user
	}{
		{
			name:    "root",
			env:     map[string]string{"HOME": "/root", "XDG_STATE_HOME": "/root/state", "XDG_RUNTIME_DIR": "/run/user/0"},
			dataDir: "/var/lib/parachute",
			sockets: []string{"/run/parachute/parachute.sock"},
		},
		{
			name:    "user",
			uid:     1000,
			env:     map[string]string{"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1000"},
			dataDir: "/home/u/.local/state/parachute",
			sockets: []string{"/run/parachute/parachute.sock", "/run/user/1000/parachute/parachute.sock"},
		},
		{
			name:    "user with a state home",
			uid:     1000,
			env:     map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "/home/u/state", "XDG_RUNTIME_DIR": "/run/user/1000"},
			dataDir: "/home/u/state/parachute",
			sockets: []string{"/run/parachute/parachute.sock", "/run/user/1000/parachute/parachute.sock"},
		},
		{
			name:    "relative folders count as unset",
			uid:     1000,
			env:     map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "state", "XDG_RUNTIME_DIR": "run", "TMPDIR": "/nowhere"},
			dataDir: "/home/u/.local/state/parachute",
			sockets: []string{"/run/parachute/parachute.sock", "/nowhere/parachute-1000/parachute.sock"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			p := placesOf(test.uid, test.env)
			dir, err := p.dataDir()
			is.NoErr(err)
			is.Equal(dir, test.dataDir)
			sockets, err := p.sockets()
			is.NoErr(err)
			is.Equal(sockets, test.sockets)
			own, _ := p.socketPath()
			is.Equal(own, test.sockets[len(test.sockets)-1])
		})
	}
}

func TestUserWithoutAHomeIsToldToNameADataDir(t *testing.T) {
	is := is.New(t)
	_, err := placesOf(1000, nil).dataDir()
	refused(is, err, "--data-dir")
}

func TestPrivateFolderIsMadeForTheUserAlone(t *testing.T) {
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "parachute-1000")
	is.True(errors.Is(checkPrivate(dir, os.Getuid()), fs.ErrNotExist)) // what a command sees that comes first
	is.NoErr(makePrivate(dir, os.Getuid()))
	info, err := os.Lstat(dir)
	is.NoErr(err)
	is.Equal(info.Mode(), fs.ModeDir|0o700)
	is.NoErr(makePrivate(dir, os.Getuid()))  // the second time it is there
	is.NoErr(checkPrivate(dir, os.Getuid())) // what a command sees then
}

func TestPrivateFolderThatMayBeSomebodyElsesIsRefused(t *testing.T) {
	for name, plant := range map[string]func(dir string) error{
		"others may enter": func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o755))
		},
		"a symbolic link": func(dir string) error {
			return errors.Join(os.Mkdir(dir+"-real", 0o700), os.Symlink(dir+"-real", dir))
		},
		"a file":     func(dir string) error { return os.WriteFile(dir, nil, 0o700) },
		"not to use": func(dir string) error { return os.Mkdir(dir, 0o000) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			dir := filepath.Join(t.TempDir(), "parachute-1000")
			is.NoErr(plant(dir))
			refused(is, makePrivate(dir, os.Getuid()), "drwx------")
			refused(is, checkPrivate(dir, os.Getuid()), "drwx------")
		})
	}
	t.Run("of another user", func(t *testing.T) {
		is := is.New(t)
		dir := filepath.Join(t.TempDir(), "parachute-1000")
		is.NoErr(makePrivate(dir, os.Getuid()))
		refused(is, checkPrivate(dir, os.Getuid()+1), "drwx------")
	})
}

func TestCommandDoesNotTrySocketsInAFolderOfSomebodyElse(t *testing.T) {
	is := is.New(t)
	tmp := t.TempDir()
	const uid = 4242
	is.NoErr(os.Mkdir(filepath.Join(tmp, "parachute-4242"), 0o755))
	_, err := placesOf(uid, map[string]string{"TMPDIR": tmp}).sockets()
	refused(is, err, "--socket")
}

func TestOnlyTheUsersOwnSocketMayNotBeSomebodyElses(t *testing.T) {
	for _, tt := range []struct {
		uid              int
		socket           string
		sockets, ownOnly []string
	}{
		{0, "", []string{systemSocket}, []string{}},
		{1000, "", []string{systemSocket, "/run/user/1000/parachute/parachute.sock"}, []string{"/run/user/1000/parachute/parachute.sock"}},
		{1000, "/tmp/named.sock", []string{"/tmp/named.sock"}, nil},
		{1000, "/run/user/1000/parachute/parachute.sock", []string{"/run/user/1000/parachute/parachute.sock"}, nil}, // who names it knows whose it is
	} {
		is := is.New(t)
		p := &program{paths: placesOf(tt.uid, map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000"})}
		client, err := remoteFlags{Socket: tt.socket}.client(p)
		is.NoErr(err)
		is.Equal(client.Sockets, tt.sockets)
		is.Equal(client.OwnOnly, tt.ownOnly)
	}
}

func placesOf(uid int, env map[string]string) defaultPaths {
	return defaultPaths{uid: uid, getenv: func(name string) string { return env[name] }}
}
