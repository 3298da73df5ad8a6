package http1_test

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// know answers with what it knows of the request.
func know(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	known := append(lines(r.Header), lines(r.Trailer)...)
	fmt.Fprintf(w, "%s %s %s %d %q %v %v %q", r.Method, r.RequestURI, r.Host, r.ContentLength, body, err, r.Close, known)
}

// sequences are about what a handler is told of a request, and about requests that
// follow each other.
func sequences() []dialogue {
	return []dialogue{
		{name: "fields are what was sent", handler: know, send: "GET /a?b HTTP/1.1\r\nHost: h\r\nx-y: 1\r\nX-Y:\t2 \r\nCookie:\r\n\r\n",
			want: []string{`200 Content-Length:55 "GET /a?b h 0 \"\" <nil> false [\"Cookie:\" \"X-Y:1\" \"X-Y:2\"]"`, "goes on"}},
		{name: "a GET may have a body", handler: know, send: get + "Content-Length: 3\r\n\r\nabc",
			want: []string{`200 Content-Length:48 "GET / h 3 \"abc\" <nil> false [\"Content-Length:3\"]"`, "goes on"}},
		{name: "a chunk may have an extension", handler: know, send: post + "Transfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0;z\r\n\r\n",
			want: []string{`200 Content-Length:32 "POST / h -1 \"abc\" <nil> false []"`, "goes on"}},
		{name: "trailers that were announced are known", handler: know, send: post + "Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
			want: []string{`200 Content-Length:37 "POST / h -1 \"abc\" <nil> false [\"X:y\"]"`, "goes on"}},
		{name: "a target may be a URL, whose host counts", handler: know, send: "GET http://b/c?d HTTP/1.1\r\nHost: h\r\n\r\n",
			want: []string{`200 Content-Length:38 "GET http://b/c?d b 0 \"\" <nil> false []"`, "goes on"}},
		{name: "a target may be an authority", handler: know, send: "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
			want: []string{`200 Content-Length:37 "CONNECT a:80 a:80 0 \"\" <nil> false []"`, "goes on"}},
		{name: "a target may be the server", handler: know, send: "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
			want:     []string{`200 Content-Length:31 "OPTIONS * h 0 \"\" <nil> false []"`, "goes on"},
			standard: []string{"200 Content-Length:0", "goes on"}, why: "a handler that stands for a whole server answers for it"},
		{name: "HTTP/1.0 may name no host", handler: know, send: "GET / HTTP/1.0\r\n\r\n",
			want: []string{`HTTP/1.0 200 Content-Length:25 "GET /  0 \"\" <nil> true []" close`, "ends"}},
		{name: "a client may say that a request is its last", handler: know, send: get + "Connection: x, close\r\n\r\n" + get + "\r\n",
			want: []string{`200 Content-Length:47 "GET / h 0 \"\" <nil> true [\"Connection:x, close\"]" close`, "ends"}},
		{name: "requests are answered in order", handler: know, send: "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n" + post + "Content-Length: 1\r\n\r\nx" + "GET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
			want: []string{`200 Content-Length:28 "GET /1 h 0 \"\" <nil> false []"`, `200 Content-Length:47 "POST / h 1 \"x\" <nil> false [\"Content-Length:1\"]"`, `200 Content-Length:28 "GET /3 h 0 \"\" <nil> false []"`, "goes on"}},
		{name: "a request behind a body that nobody reads is answered", handler: answer("ok"), send: post + "Content-Length: 3\r\n\r\nabc" + get + "\r\n", want: []string{`200 Content-Length:2 "ok"`, `200 Content-Length:2 "ok"`, "goes on"}},
		{name: "nothing is answered behind a response that is the last", send: get + "\r\n" + get + "\r\n", want: []string{`200 Content-Length:0 close`, "ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }},
		{name: "nothing is answered behind half a response", send: get + "\r\n" + get + "\r\n", want: []string{`200 Content-Length:5 "ab"`, "breaks off"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "5")
				io.WriteString(w, "ab")
			}},
		{name: "an end within chunks ends the connection", handler: echo, send: post + "Transfer-Encoding: chunked\r\n\r\n5\r\nabc", half: true, want: []string{`200 Content-Length:6 "abc..." close`, "ends"}},
		{name: "an end within a head is not answered", handler: answer("ok"), send: get, half: true, want: []string{"ends"}},
		{name: "a body that is asked for in vain is the last", send: post + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n" + get + "\r\n", want: []string{"100", `200 Content-Length:3 "abc"`, "200 Content-Length:0 close", "ends"},
			handler: func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					io.Copy(w, r.Body)
				}
			}},
		{name: "the preface of HTTP/2", brief: true, handler: nothing, send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", alone: true, want: []string{"505", "ends"},
			standard: []string{"200", "ends"}, why: "it is the beginning of what this server does not speak, and no handler does so behind it"},
	}
}

// codings are about what a handler says of the body that is the server's to say.
func codings() []dialogue {
	return []dialogue{
		{name: "a coding that a handler names", send: get + "\r\n", want: []string{`200 in chunks "ab"`, "goes on"}, standard: []string{"is malformed"}, why: "a coding is the server's matter, and clients know no other",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Transfer-Encoding", "gzip")
				io.WriteString(w, "ab")
			}},
		{name: "identity without a length", send: get + "\r\n", want: []string{`200 in chunks "ab"`, "goes on"}, standard: []string{`200 "ab" close`, "ends"}, why: "identity is no coding any more (RFC 9112, section 7)",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Transfer-Encoding", "identity")
				io.WriteString(w, "ab")
			}},
		{name: "identity beside a length", send: get + "\r\n", want: []string{`200 Content-Length:2 "ab"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Transfer-Encoding", "identity")
				w.Header().Set("Content-Length", "2")
				io.WriteString(w, "ab")
			}},
		{name: "204 with a length and a type", send: get + "\r\n", want: []string{"204 Content-Type:text/x", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "2")
				w.Header().Set("Content-Type", "text/x")
				w.WriteHeader(204)
			}},
		{name: "304 with a length and a type", send: get + "\r\n", want: []string{"304 Content-Length:2 Content-Type:text/x", "goes on"}, standard: []string{"304", "goes on"}, why: "it may tell what a 200 would have (RFC 9110, section 15.4.5)",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "2")
				w.Header().Set("Content-Type", "text/x")
				w.WriteHeader(304)
			}},
		{name: "204 with a coding", send: get + "\r\n", want: []string{"204", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Transfer-Encoding", "chunked")
				w.WriteHeader(204)
			}},
		{name: "a response that cannot be written is the last", send: get + "\r\n", want: []string{"ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				rc := http.NewResponseController(w)
				rc.SetWriteDeadline(time.Now().Add(-time.Second))
				io.WriteString(w, "ab")
				rc.Flush()
			}},
		{name: "a response is written in strings, too", send: get + "\r\n", want: []string{`200 Content-Length:2 "ab"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.(io.StringWriter).WriteString("ab")
			}},
		{name: "two lengths", send: get + "\r\n", want: []string{`200 Content-Length:2 "ab"`, "goes on"}, standard: []string{"is malformed"}, why: "a response has one length: the first is what the body is counted by",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Length"] = []string{"2", "3"}
				io.WriteString(w, "ab")
			}},
		{name: "a length in another spelling", send: get + "\r\n", want: []string{`200 Content-Length:2 "ab"`, "goes on"}, standard: []string{"is malformed"}, why: "the server says the length itself, and once",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["content-length"] = []string{"3"}
				io.WriteString(w, "ab")
			}},
	}
}
