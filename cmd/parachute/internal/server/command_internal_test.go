package server

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestCommandDeploysWhatServes(t *testing.T) {
	is := is.New(t)
	is.Equal(commandOf(parachute.Deployment{Service: "web", Targets: []string{"10.0.0.7:3000"}}),
		"parachute deploy web \\\n    --target 10.0.0.7:3000")
	d := parachute.Deployment{
		Service: "web", Targets: []string{"a:1", "b:2"}, ReadTargets: []string{"c:3"}, Release: "it's v1",
		Hosts: []string{"app.test"}, Timeouts: parachute.Timeouts{Drain: time.Minute},
	}
	d.Headers.Request = []string{"set X-Key: secret of the app"}
	is.Equal(commandOf(d), `parachute deploy web \
    --target a:1 \
    --target b:2 \
    --read-target c:3 \
    --release 'it'\''s v1' \
    --host app.test \
    --drain-timeout 1m \
    --request-header 'set X-Key: ***'`)
}
