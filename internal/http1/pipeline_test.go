package http1_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/http1"
)

// A sent request is one of several that a client sends in one write.
type sent struct{ method, path, fields, body string }

func (s sent) String() string {
	return s.method + " " + s.path + " HTTP/1.1\r\nHost: app.test\r\n" + s.fields + "\r\n" + s.body
}

// getting returns a request for path, in which "slow" makes it last a while.
func getting(path string) sent { return sent{method: "GET", path: path} }

var (
	heading = sent{method: "HEAD", path: "/head"}
	counted = sent{"POST", "/counted", "Content-Length: 5\r\n", "hello"}
	chunked = sent{"POST", "/chunked/slow", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"}
	unread  = sent{"POST", "/unread/slow", "Content-Length: 5\r\n", "hello"}
	interim = getting("/interim/slow")
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

// echoAll answers with the path, the body, and whether the client has left.
func echoAll(w http.ResponseWriter, r *http.Request) {
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

// serveSockets serves h to those who dial.
func serveSockets(t *testing.T, h http.HandlerFunc) (dial func() *net.TCPConn) {
	t.Helper()
	address := start(t, &http1.Server{Handler: h})
	return func() *net.TCPConn {
		client, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client.(*net.TCPConn)
	}
}

// answered returns the body of the next answer.
func answered(t *testing.T, answers *bufio.Reader) string {
	t.Helper()
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestPipelinedRequestsAreAllAnswered(t *testing.T) {
	const connections = 20
	for name, all := range map[string][]sent{
		"slow first":    {getting("/slow"), getting("/1"), getting("/2"), getting("/3"), getting("/4")},
		"slow middle":   {getting("/1"), getting("/2"), getting("/slow"), getting("/3"), getting("/4")},
		"slow last":     {getting("/1"), getting("/2"), getting("/3"), getting("/4"), getting("/slow")},
		"slow and fast": {getting("/slow"), getting("/1"), getting("/slow"), getting("/2"), getting("/slow")},
		"bodies":        {counted, chunked, getting("/slow"), counted, unread, chunked, getting("/1")},
		"no bodies":     {getting("/slow"), heading, interim, heading, heading, interim, getting("/1")},
	} {
		var want strings.Builder
		for _, request := range all {
			if request == interim {
				want.WriteString("103\n")
			}
			if request != heading {
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
	dial := serveSockets(t, echoAll)
	return func() net.Conn { return dial() }
}

// secretly serves with TLS.
func secretly(t *testing.T) func() net.Conn {
	ca := httptest.NewTLSServer(nil)
	t.Cleanup(ca.Close)
	address := start(t, &http1.Server{Handler: http.HandlerFunc(echoAll), TLSConfig: &tls.Config{Certificates: ca.TLS.Certificates}})
	config := ca.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "example.com" // as its certificate has it
	return func() net.Conn {
		client, err := net.Dial("tcp", address)
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
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			entered <- struct{}{}
			<-release
		}
		fmt.Fprint(w, r.URL.Path, r.Context().Err())
	})
	client := dial()
	all := []sent{getting("/hold"), getting("/1"), getting("/2"), getting("/hold"), getting("/3")}
	send(t, client, all[0])
	<-entered
	send(t, client, all[1:3]...)
	lasts(t)
	send(t, client, all[3:]...)
	release <- struct{}{}
	<-entered
	release <- struct{}{}
	is.Equal(answers(client, all), "/hold<nil>\n/1<nil>\n/2<nil>\n/hold<nil>\n/3<nil>\n")
}

// What was sent behind the request belongs to whoever has taken the connection.
func TestHijackInAPipelineGetsWhatFollows(t *testing.T) {
	is := is.New(t)
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hijack" {
			echoAll(w, r)
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
	send(t, client, getting("/slow"), getting("/1"), sent{"GET", "/hijack", "", "one"})
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

// The client has not been told that the connection ends, so it may use it again as soon
// as it has its answer, and has sent all.
func TestRequestBehindABodyThatNobodyHasReadIsAnswered(t *testing.T) {
	const size = 1 << 20
	for name, head := range map[string]string{
		"in chunks": "POST /late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n",
		"counted, and answered before that was known": "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				client := serveMemory(t, &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.WriteString(w, "no")
					if r.URL.Path == "/early" {
						http.NewResponseController(w).Flush()
					}
				})})()
				sending := beside(t, client, func() {
					io.WriteString(client, head+strings.Repeat("b", size))
					if strings.Contains(head, "chunked") {
						io.WriteString(client, "\r\n0\r\n\r\n")
					}
					io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				})
				br := bufio.NewReader(client)
				for range 2 {
					res, err := http.ReadResponse(br, nil)
					is.NoErr(err)
					body, err := io.ReadAll(res.Body)
					is.NoErr(err)
					is.Equal(string(body), "no")
					is.True(!res.Close)
				}
				sending()
			})
		})
	}
}
