package tcp_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
)

// A sent request is one of several that a client sends in one write.
type sent struct{ method, path, fields, body string }

func (s sent) String() string {
	return s.method + " " + s.path + " HTTP/1.1\r\nHost: app.test\r\n" + s.fields + "\r\n" + s.body
}

// get returns a request for path, in which "slow" makes it last longer than until
// a watch begins to look.
func get(path string) sent { return sent{method: "GET", path: path} }

var (
	head    = sent{method: "HEAD", path: "/head"}
	counted = sent{"POST", "/counted", "Content-Length: 5\r\n", "hello"}
	chunked = sent{"POST", "/chunked/slow", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"}
	unread  = sent{"POST", "/unread/slow", "Content-Length: 5\r\n", "hello"}
	interim = get("/interim/slow")
)

// send sends all in one write.
func send(t *testing.T, client net.Conn, all ...sent) {
	t.Helper()
	if _, err := io.WriteString(client, wire(all)); err != nil {
		t.Fatal(err)
	}
}

func wire(all []sent) string {
	var requests strings.Builder
	for _, request := range all {
		requests.WriteString(request.String())
	}
	return requests.String()
}

// echo answers with the path, the body, and whether the client has left.
func echo(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "interim") {
		w.WriteHeader(http.StatusEarlyHints)
	}
	var body []byte
	if !strings.Contains(r.URL.Path, "unread") {
		body, _ = io.ReadAll(r.Body)
	}
	if strings.Contains(r.URL.Path, "slow") {
		select {
		case <-time.After(15 * time.Millisecond):
		case <-r.Context().Done():
		}
	}
	fmt.Fprint(w, r.URL.Path, string(body), r.Context().Err())
}

// answers reads the answers to all, and returns the bodies, or what was wrong.
func answers(r io.Reader, all []sent) (bodies string) {
	br := bufio.NewReader(r)
	for _, request := range all {
		for {
			res, err := http.ReadResponse(br, &http.Request{Method: request.method})
			if err != nil {
				return bodies + err.Error()
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				return bodies + err.Error()
			}
			if res.StatusCode >= 200 {
				bodies += string(body) + "\n"
				break
			}
			bodies += fmt.Sprintln(res.StatusCode)
		}
	}
	return bodies
}

func TestPipelinedRequestsAreAllAnswered(t *testing.T) {
	const connections = 50
	for name, all := range map[string][]sent{
		"slow first":    {get("/slow"), get("/1"), get("/2"), get("/3"), get("/4")},
		"slow middle":   {get("/1"), get("/2"), get("/slow"), get("/3"), get("/4")},
		"slow last":     {get("/1"), get("/2"), get("/3"), get("/4"), get("/slow")},
		"slow and fast": {get("/slow"), get("/1"), get("/slow"), get("/2"), get("/slow")},
		"bodies":        {counted, chunked, get("/slow"), counted, unread, chunked, get("/1")},
		"no bodies":     {get("/slow"), head, interim, head, head, interim, get("/1")},
	} {
		var want strings.Builder
		for _, request := range all {
			if request == interim {
				want.WriteString("103\n")
			}
			if request != head {
				body := "hello"
				if request.body == "" || request == unread {
					body = ""
				}
				fmt.Fprint(&want, request.path, body, "<nil>")
			}
			want.WriteString("\n")
		}
		for how, dialler := range map[string]func(*testing.T) func() net.Conn{"plain": plainly, "TLS": secretly} {
			t.Run(name+", "+how, func(t *testing.T) {
				is := is.New(t)
				dial := dialler(t)
				got := make([]string, connections)
				var clients sync.WaitGroup
				for i := range got {
					client := dial()
					clients.Go(func() {
						io.WriteString(client, wire(all))
						got[i] = answers(client, all)
					})
				}
				clients.Wait()
				for _, bodies := range got {
					is.Equal(bodies, want.String())
				}
			})
		}
	}
}

func plainly(t *testing.T) func() net.Conn {
	dial := serve(t, echo)
	return func() net.Conn { return dial() }
}

// secretly serves with TLS over the listener, as the proxy does.
func secretly(t *testing.T) func() net.Conn {
	l, err := tcp.Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	s.Listener.Close()
	s.Listener = l
	s.Config.ConnContext = tcp.ConnContext
	s.StartTLS()
	t.Cleanup(s.Close)
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "example.com" // as its certificate has it
	return func() net.Conn {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return tls.Client(client, config)
	}
}

// One that is sent while another is answered is not read before that.
func TestRequestsThatComeWhileOneLastsAreAllAnswered(t *testing.T) {
	is := is.New(t)
	entered, release := make(chan struct{}), make(chan struct{})
	dial := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			entered <- struct{}{}
			<-release
		}
		fmt.Fprint(w, r.URL.Path, r.Context().Err())
	})
	client := dial()
	all := []sent{get("/hold"), get("/1"), get("/2"), get("/hold"), get("/3")}
	send(t, client, all[0])
	<-entered
	lasts(t)
	send(t, client, all[1:3]...)
	lasts(t)
	send(t, client, all[3:]...)
	release <- struct{}{}
	<-entered
	lasts(t)
	release <- struct{}{}
	is.Equal(answers(client, all), "/hold<nil>\n/1<nil>\n/2<nil>\n/hold<nil>\n/3<nil>\n")
}

func TestContextEndsWhenAClientLeavesThatHasSentAhead(t *testing.T) {
	for where, all := range map[string][]sent{
		"first":  {get("/hold"), get("/1"), get("/2")},
		"middle": {get("/1"), get("/hold"), get("/2")},
		"last":   {get("/1"), get("/2"), get("/hold")},
	} {
		for how, leave := range map[string]func(client *net.TCPConn){
			"closes":      func(client *net.TCPConn) { client.Close() },
			"resets":      reset,
			"half closes": func(client *net.TCPConn) { client.CloseWrite() },
		} {
			t.Run(where+", "+how, func(t *testing.T) {
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
				send(t, client, all...)
				<-entered
				leave(client)
				is.Equal(<-ended, context.Canceled)
			})
		}
	}
}

// What was sent behind the request belongs to whoever has taken the connection.
func TestHijackInAPipelineGetsWhatFollows(t *testing.T) {
	is := is.New(t)
	dial := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hijack" {
			echo(w, r)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprintln(conn, "taken", r.Context().Err())
		rest, err := io.ReadAll(buffered)
		fmt.Fprint(conn, string(rest), err)
	})
	client := dial()
	send(t, client, get("/slow"), get("/1"), sent{"GET", "/hijack", "", "one"})
	br := bufio.NewReader(client)
	is.Equal(answered(t, br), "/slow<nil>")
	is.Equal(answered(t, br), "/1<nil>")
	line, err := br.ReadString('\n')
	is.NoErr(err)
	is.Equal(line, "taken <nil>\n")
	_, err = io.WriteString(client, ", two")
	is.NoErr(err)
	is.NoErr(client.CloseWrite())
	got, err := io.ReadAll(br)
	is.NoErr(err)
	is.Equal(string(got), "one, two<nil>")
}

// The goroutine of net/http that is to read may begin after the request is
// answered, whatever somebody looks at meanwhile.
func TestReadThatIsTakenBackBeforeItBeginsEndsNothing(t *testing.T) {
	is := is.New(t)
	conn, client := accepted(t)
	ctx := tcp.ConnContext(t.Context(), conn)
	readByte := func() {
		n, err := conn.Read(make([]byte, 1))
		is.NoErr(err)
		is.Equal(n, 0)
	}
	is.NoErr(conn.SetReadDeadline(time.Time{}))
	readByte()
	lasts(t)
	for range 3 { // requests that were read with that one
		is.NoErr(conn.SetReadDeadline(time.Time{}))
		is.NoErr(conn.SetReadDeadline(past))
		lasts(t)
		readByte()
		is.NoErr(conn.SetReadDeadline(time.Time{}))
		is.NoErr(ctx.Err())
	}
	is.NoErr(conn.SetReadDeadline(time.Time{}))
	readByte()
	is.NoErr(client.Close())
	<-ctx.Done()
	_, err := conn.Read(make([]byte, 2))
	is.Equal(err, io.EOF)
}
