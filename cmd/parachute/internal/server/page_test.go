package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

func TestPageShowsWhatIsServed(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.Page.Port = -1
	app := newApp(t)
	save(t, c, app.Listener.Addr().String())
	p := start(t, c)
	var listening struct{ Address string }
	is.NoErr(json.Unmarshal([]byte(p.await(t, `"protocol":"page"`)), &listening))
	is.True(strings.HasPrefix(listening.Address, "127.0.0.1:")) // nobody else can reach it
	version, err := (&control.Client{Sockets: []string{c.Socket}}).Version(t.Context())
	is.NoErr(err)
	is.Equal(version.Page, "http://"+listening.Address+"/")

	is.Equal(p.get("/"), "200 hello")
	p.await(t, `"msg":"Request"`)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: patience}
	page := answerOf(client.Get(version.Page + "services/web"))
	is.True(strings.HasPrefix(page, "200 "))
	is.True(strings.Contains(page, app.Listener.Addr().String()))
	is.True(!strings.Contains(page, "<dt>Requests/s</dt><dd>0</dd>")) // the request counts at once

	live, err := client.Get(version.Page + "live")
	is.NoErr(err)
	defer live.Body.Close()
	is.NoErr(p.stop(t)) // whoever watches does not hold it up
}
