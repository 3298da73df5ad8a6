package tcp_test

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/matryer/is"
)

// As nginx has it: what the client has sent before it left does not hide that.
func TestContextEndsWhenAClientLeavesThatHasSentWhatNobodyReads(t *testing.T) {
	for name, leave := range map[string]func(client *net.TCPConn){
		"closes":      func(client *net.TCPConn) { client.Close() },
		"resets":      reset,
		"half closes": func(client *net.TCPConn) { client.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			entered, ended := make(chan struct{}), make(chan error)
			dial := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hold" {
					close(entered)
					<-r.Context().Done()
					ended <- context.Cause(r.Context())
				}
			})
			client := dial()
			send(t, client, get("/hold"))
			<-entered
			send(t, client, get("/1"), get("/2"))
			lasts(t)
			send(t, client, get("/3"))
			leave(client)
			is.Equal(<-ended, context.Canceled)
		})
	}
}
