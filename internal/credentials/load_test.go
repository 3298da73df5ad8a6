package credentials_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/credentials"
)

// whole is a hash of "myPassword".
const whole = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"

func TestCommentsEmptyLinesAndSpaceDoNotCount(t *testing.T) {
	is := is.New(t)
	file := write(t, "# ann:x\r\n\n \t\n  ann:"+whole+" \r\n#\nbob:"+strings.Replace(whole, "2y", "2a", 1)+"\n\neve:"+strings.Replace(whole, "2y", "2b", 1))
	users, err := credentials.Load(file, make(chan struct{}, 1))
	is.NoErr(err)
	for _, name := range []string{"ann", "bob", "eve"} {
		got, err := users.Allows(t.Context(), basic(name, "myPassword"))
		is.NoErr(err)
		is.True(got)
	}
}

func TestWhatIsNoFileOfUsersIsRefused(t *testing.T) {
	long := strings.Repeat("n", 256)
	for _, tt := range []struct{ name, data, want string }{
		{"empty", "", " has no users: want a line for each, as htpasswd -B makes them"},
		{"comments alone", "# ann\n\n", " has no users: want a line for each, as htpasswd -B makes them"},
		{"no colon", "ann\n", ", line 1: want NAME:HASH, as htpasswd -B makes it"},
		{"no name", "\n:" + whole, ", line 2: want NAME:HASH, as htpasswd -B makes it"},
		{"a long name", long + ":" + whole, `, line 1: the name "` + long + `" is too long: want at most 255 bytes`},
		{"twice", "ann:" + whole + "\n\nann:" + whole, `, line 3: "ann" is there already: want one line for each user`},
		{"MD5", "ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", `, line 1: the password of "ann" is hashed by MD5: want one hashed by bcrypt, as htpasswd -B does`},
		{"crypt's MD5", "ann:$1$aaaaaaaa$bbbbbbbbbbbbbbbbbbbbbb", `is hashed by MD5: want one hashed by bcrypt, as htpasswd -B does`},
		{"SHA-1", "ann:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=", `is hashed by SHA-1: want one hashed by bcrypt, as htpasswd -B does`},
		{"SHA-256", "ann:$5$aaaa$bbbb", `is hashed by SHA-2: want one hashed by bcrypt, as htpasswd -B does`},
		{"SHA-512", "ann:$6$rounds=5$aaaa$bbbb", `is hashed by SHA-2: want one hashed by bcrypt, as htpasswd -B does`},
		{"argon2", "ann:$argon2id$v=19$m=1,t=1,p=1$a$b", `is hashed by something else: want one hashed by bcrypt, as htpasswd -B does`},
		{"faulty bcrypt", "ann:" + strings.Replace(whole, "2y", "2x", 1), `is hashed by something else: want`},
		{"crypt", "ann:rqXexS6ZhobKA", `is hashed by crypt, or not at all: want one hashed by bcrypt, as htpasswd -B does`},
		{"plain", "ann:hunter2", `is hashed by crypt, or not at all: want one hashed by bcrypt, as htpasswd -B does`},
		{"nothing", "ann:", `is hashed by crypt, or not at all: want one hashed by bcrypt, as htpasswd -B does`},
		{"short", "ann:" + whole[:59], `is hashed by bcrypt, but not whole: want one hashed by bcrypt, as htpasswd -B does`},
		{"long", "ann:" + whole + "a", `is hashed by bcrypt, but not whole`},
		{"another field", "ann:" + whole + ":Ann", `is hashed by bcrypt, but not whole`},
		{"other letters", "ann:" + whole[:59] + "=", `is hashed by bcrypt, but not whole`},
		{"only a prefix", "ann:$2y", `is hashed by bcrypt, but not whole`},
		{"slow", "ann:" + strings.Replace(whole, "$05$", "$15$", 1), `, line 1: the password of "ann" is hashed with cost 15: want 4 to 14, as with htpasswd -B -C 10`},
		{"cheap", "ann:" + strings.Replace(whole, "$05$", "$03$", 1), `is hashed with cost 03: want 4 to 14, as with htpasswd -B -C 10`},
		{"no cost", "ann:" + strings.Replace(whole, "$05$", "$+5$", 1), `is hashed with cost +5: want 4 to 14`},
		{"too large", strings.Repeat("#\n", 1<<19) + "#", " has more than 1 MiB: want a file of users, with some sixty bytes for each"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			file := write(t, tt.data)
			_, err := credentials.Load(file, make(chan struct{}, 1))
			is.True(err != nil)
			is.True(strings.HasPrefix(err.Error(), file))        // which file it is
			is.True(strings.Contains(err.Error(), tt.want))      // what is wrong
			is.True(!strings.Contains(err.Error(), "hunter2"))   // what was taken for a password
			is.True(!strings.Contains(err.Error(), whole[8:50])) // or for a hash
		})
	}
}

func TestAsMuchAsAMebibyteIsTaken(t *testing.T) {
	is := is.New(t)
	last := "\nann:" + whole
	_, err := credentials.Load(write(t, strings.Repeat("#", 1<<20-len(last))+last), make(chan struct{}, 1))
	is.NoErr(err)
}

func TestOnlyAFileIsRead(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	checks := make(chan struct{}, 1)
	_, err := credentials.Load(filepath.Join(dir, "none"), checks)
	is.True(errors.Is(err, fs.ErrNotExist))
	is.True(strings.Contains(err.Error(), "want a file that htpasswd -B has made"))
	pipe := filepath.Join(dir, "pipe")
	is.NoErr(syscall.Mkfifo(pipe, 0o600))
	for _, file := range []string{dir, pipe} {
		_, err = credentials.Load(file, checks)
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), " is no regular file: want one that htpasswd -B has made"))
	}
	link := filepath.Join(dir, "link")
	is.NoErr(os.Symlink(write(t, "ann:"+whole), link))
	_, err = credentials.Load(link, checks)
	is.NoErr(err) // as secrets are mounted
}

// FuzzLoad makes sure that whoever has a line is let in, whatever the others
// are, or else that the file is refused.
func FuzzLoad(f *testing.F) {
	f.Add("ann", whole, "# comment\n\nbob:$apr1$a$b")
	f.Add("a:b", whole, "")
	f.Add("ann ", "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=", "ann:"+whole)
	f.Add("#ann", whole+"\r", "\r\n")
	file := filepath.Join(f.TempDir(), "users")
	checks := make(chan struct{}, 1)
	f.Fuzz(func(t *testing.T, name, hash, rest string) {
		if err := os.WriteFile(file, []byte(name+":"+hash+"\n"+rest), 0o600); err != nil {
			t.Fatal(err)
		}
		users, err := credentials.Load(file, checks)
		switch {
		case err != nil && !strings.HasPrefix(err.Error(), file):
			t.Errorf("%q does not say which file", err)
		case err != nil || hash != whole || strings.ContainsAny(name, "#:") || strings.TrimSpace(name) != name || len(strings.Fields(name)) != 1:
			return
		}
		if ok, err := users.Allows(t.Context(), basic(name, "myPassword")); !ok || err != nil {
			t.Errorf("%q is not let in: %v", name, err)
		}
	})
}
