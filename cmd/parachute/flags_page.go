package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
	"github.com/shahnk19/parachute/internal/credentials"
	"github.com/shahnk19/parachute/internal/hostname"
)

// pageFlags say where the page to look at is served, and to whom.
type pageFlags struct {
	PagePort         port     `envar:"both" group:"Page:" placeholder:"0" help:"Port of a page to look at, which shows what is deployed and how it is, and changes nothing; 0 is none."`
	PageBind         address  `envar:"both" group:"Page:" placeholder:"127.0.0.1" help:"Address to listen on for the page. Any but a loopback one needs --page-password-file."`
	PagePasswordFile string   `envar:"both" group:"Page:" placeholder:"FILE" help:"File of the users who may see the page, as htpasswd -B makes it. Without one, nothing is shown there that an app or a client has said, such as lines of the log."`
	PageHost         pageHost `envar:"both" group:"Page:" placeholder:"NAME,..." help:"Names under which the page is served, beside localhost and loopback addresses, as from behind a proxy."`
}

// A pageHost is a list of host names.
type pageHost []string

func (h *pageHost) UnmarshalText(text []byte) error {
	for s := range strings.SplitSeq(string(text), ",") {
		name := strings.ToLower(strings.TrimSpace(s))
		if hostname.Canonical(name) != name || !hostname.IsName(name) {
			return fmt.Errorf("%q is no host name: want names separated by commas, such as status.example.com", s)
		}
		*h = append(*h, name)
	}
	return nil
}

// config returns what they ask for.
func (f pageFlags) config() (server.PageConfig, error) {
	if f.PagePort != 0 && f.PageBind.IsValid() && !f.PageBind.IsLoopback() && f.PagePasswordFile == "" {
		return server.PageConfig{}, fmt.Errorf("--page-bind %s can be reached by others: want --page-password-file as well, or a loopback address", f.PageBind.Addr)
	}
	c := server.PageConfig{Port: int(f.PagePort), Bind: f.PageBind.Addr, Hosts: f.PageHost}
	if f.PagePasswordFile != "" {
		users, err := credentials.Load(f.PagePasswordFile, make(chan struct{}, runtime.GOMAXPROCS(0)))
		if err != nil {
			return server.PageConfig{}, fmt.Errorf("--page-password-file: %w", err)
		}
		c.Allows = users.Allows
	}
	return c, nil
}
