package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// leave puts a state of kamal-proxy into the folder of c.
func leave(t *testing.T, c server.Config, state string) string {
	t.Helper()
	path := filepath.Join(c.DataDir, "kamal-proxy.state")
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunTakesOverFromKamalProxy(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	written := fmt.Sprintf(`[{"name":"app-web","active_targets":[%q],"options":{"warp_factor":9},"target_options":{}}]`, newApp(t).Listener.Addr())
	path := leave(t, c, written)
	p := start(t, c)
	is.Equal(p.get("/"), "200 hello")
	is.True(strings.Contains(p.log.String(), "warp_factor is not known here")) // what is not taken over is named
	is.NoErr(p.stop(t))
	left, err := os.ReadFile(path)
	is.NoErr(err)
	is.Equal(string(left), written) // and the file is left
}

func TestWhatIsOurOwnGoesBeforeWhatKamalProxyLeft(t *testing.T) {
	for name, prepare := range map[string]func(c server.Config) error{
		"a state": func(c server.Config) error {
			store, err := state.Open(c.DataDir)
			if err != nil {
				return err
			}
			defer store.Close()
			return store.Save(nil) // everything was removed
		},
		"a state that is set aside": func(c server.Config) error {
			return os.WriteFile(filepath.Join(c.DataDir, "state.json"), []byte("{"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			c := newConfig(t)
			leave(t, c, fmt.Sprintf(`[{"name":"app-web","active_targets":[%q]}]`, newApp(t).Listener.Addr()))
			is.NoErr(prepare(c))
			for range 2 { // the second start finds what the first one left
				p := start(t, c)
				is.True(strings.HasPrefix(p.get("/"), "404"))
				is.NoErr(p.stop(t))
			}
		})
	}
}

func TestStateOfKamalProxyThatCannotBeReadKeepsNothingFromServing(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	leave(t, c, "not JSON")
	p := start(t, c)
	is.True(strings.HasPrefix(p.get("/"), "404"))
	is.True(strings.Contains(p.log.String(), "deploy it again"))
	deploy(t, c, newApp(t).Listener.Addr().String())
	is.Equal(p.get("/"), "200 hello")
}
