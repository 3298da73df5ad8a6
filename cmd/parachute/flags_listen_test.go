package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
)

func TestListenersAreReadFromFlagsAndFromTheVariable(t *testing.T) {
	one := func(address string, services ...string) server.FurtherListener {
		at, err := parseAddrPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return server.FurtherListener{Address: at, Services: services}
	}
	for _, tt := range []struct {
		name string
		args []string
		env  string
		want listenerList
	}{
		{name: "none"},
		{name: "a port alone", args: []string{"--listen", ":8081"}, want: listenerList{one(":8081")}},
		{name: "of an address", args: []string{"--listen=127.0.0.1:8081"}, want: listenerList{one("127.0.0.1:8081")}},
		{name: "of IPv6", args: []string{"--listen", "[::1]:8081=admin"}, want: listenerList{one("[::1]:8081", "admin")}},
		{name: "of a link", args: []string{"--listen", "[fe80::1%eth0]:8081"}, want: listenerList{one("[fe80::1%eth0]:8081")}},
		{name: "for services", args: []string{"--listen", "10.0.0.1:8081=admin,ops, admin"}, want: listenerList{one("10.0.0.1:8081", "admin", "ops")}},
		{name: "several", args: []string{"--listen", ":8081=admin", "--listen", ":8082"}, want: listenerList{one(":8081", "admin"), one(":8082")}},
		{name: "several of any port", args: []string{"--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, want: listenerList{one("127.0.0.1:0"), one("127.0.0.1:0")}},
		{name: "one port of several addresses", args: []string{"--listen", "10.0.0.1:8081", "--listen", "[::1]:8081"}, want: listenerList{one("10.0.0.1:8081"), one("[::1]:8081")}},
		{name: "names of several words", args: []string{"--listen", ":8081=my admin,the ops"}, want: listenerList{one(":8081", "my admin", "the ops")}},
		{name: "a name with an equals sign", args: []string{"--listen", ":8081=a=b"}, want: listenerList{one(":8081", "a=b")}},
		{name: "a variable", env: ":8081=admin,ops", want: listenerList{one(":8081", "admin", "ops")}},
		{name: "several in it, with spaces", env: " :8081=admin,ops  [::1]:9000 10.0.0.1:9001=x\n", want: listenerList{one(":8081", "admin", "ops"), one("[::1]:9000"), one("10.0.0.1:9001", "x")}},
		{name: "several in it, with commas", env: ":8081=admin,ops,:8082,[::1]:9000=my admin, 10.0.0.1:9001", want: listenerList{one(":8081", "admin", "ops"), one(":8082"), one("[::1]:9000", "my admin"), one("10.0.0.1:9001")}},
		{name: "the flag goes first", args: []string{"--listen", ":8083"}, env: ":8081 :8082", want: listenerList{one(":8083")}},
		{name: "an empty variable", env: "", want: nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			command, _, err := parse(map[string]string{"PARACHUTE_LISTEN": tt.env, "LISTEN": ":1"}, append([]string{"run"}, tt.args...)...)
			is.NoErr(err)
			is.Equal(command.Run.Listen, tt.want)
			is.NoErr(command.Run.checkListeners())
		})
	}
}

func TestWhatCannotBeListenedOnIsAUsageError(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen", "8081"}, "no address to listen on"},
		{[]string{"--listen", "localhost:8081"}, "want an IP address and a port"},
		{[]string{"--listen", "::1:8081"}, "[::1]:9000"},
		{[]string{"--listen", "10.0.0.1"}, "no address to listen on"},
		{[]string{"--listen", ":"}, "no address to listen on"},
		{[]string{"--listen", ":65536"}, "no address to listen on"},
		{[]string{"--listen", ":http"}, "no address to listen on"},
		{[]string{"--listen", "=admin"}, "no address to listen on"},
		{[]string{"--listen="}, "no address to listen on"},
		{[]string{"--listen", ":8081="}, "names no service"},
		{[]string{"--listen", ":8081=a,,b"}, "names no service"},
		{[]string{"--listen", ":8081", "--listen", "127.0.0.1:8081=admin"}, "listened on already"},
		{[]string{"--listen", "[::1]:8081", "--listen", "[::1]:8081=admin"}, "listened on already"},
		{[]string{"--listen", ":80"}, "port 80 is that of --http-port"},
		{[]string{"--listen", "127.0.0.1:443"}, "port 443 is that of --https-port"},
		{[]string{"--listen", ":9100", "--metrics-port", "9100"}, "port 9100 is that of --metrics-port"},
		{[]string{"--listen", ":8080", "--bind", "127.0.0.1", "--http-port", "8080"}, "port 8080 is that of --http-port"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			is := is.New(t)
			command, _, err := parse(nil, append([]string{"run"}, tt.args...)...)
			if err == nil {
				_, err = command.Run.config(&program{})
			}
			refused(is, err, tt.want)
			is.Equal(exitCode(err), exitUsage)
		})
	}
	is := is.New(t)
	_, _, err := parse(map[string]string{"PARACHUTE_LISTEN": "8081"}, "run")
	refused(is, err, "PARACHUTE_LISTEN: ")
	command, _, err := parse(nil, "run", "--bind", "127.0.0.1", "--listen", "[::1]:80", "--listen", "127.0.0.2:443")
	is.NoErr(err)
	is.NoErr(command.Run.checkListeners()) // other addresses
	is.True(overlap(netip.MustParseAddrPort("[::ffff:10.0.0.1]:80"), netip.MustParseAddrPort("10.0.0.1:80")))
}

func FuzzListenersAreSplitWithoutLoss(f *testing.F) {
	for _, text := range []string{":8081=admin,ops", ":8081 [::1]:9000=my admin, 10.0.0.1:9001", ",, :1", "=", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const separators = ", \t\n"
		strip := strings.NewReplacer(",", "", " ", "", "\t", "", "\n", "")
		if got := strip.Replace(strings.Join(splitListeners(text), "")); got != strip.Replace(text) {
			t.Errorf("%q becomes %q", text, got)
		}
		var list listenerList
		if list.UnmarshalText([]byte(text)) != nil {
			return
		}
		for _, l := range list {
			for _, name := range l.Services {
				if name == "" || strings.Contains(name, ",") || strings.Trim(name, separators) != name {
					t.Errorf("%q names a service %q", text, name)
				}
			}
		}
	})
}
