package main

import "github.com/shahnk19/parachute/cmd/parachute/internal/control"

// remote is what the commands have in common that speak to a running proxy.
type remote struct {
	Socket string `envar:"prefixed" placeholder:"PATH" help:"Control socket of the proxy; if none is given, the system's is tried, then the user's."`
}

func (r remote) client(p *program) (*control.Client, error) {
	if r.Socket != "" {
		return &control.Client{Sockets: []string{r.Socket}}, nil
	}
	sockets, err := p.places.sockets()
	return &control.Client{Sockets: sockets}, err
}
