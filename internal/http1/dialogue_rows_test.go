package http1_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

const (
	get  = "GET / HTTP/1.1\r\nHost: h\r\n"
	head = "HEAD / HTTP/1.1\r\nHost: h\r\n"
	post = "POST / HTTP/1.1\r\nHost: h\r\n"
)

// answer returns a handler that writes body.
func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
}

// echo answers with what it has read, and whether that was all.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	switch {
	case err == nil:
		fmt.Fprintf(w, "%s.", body)
	case errors.Is(err, io.ErrUnexpectedEOF):
		fmt.Fprintf(w, "%s...", body)
	default:
		fmt.Fprintf(w, "%s?", body)
	}
}

func nothing(http.ResponseWriter, *http.Request) {}

// lengths are about where a response ends.
func lengths() []dialogue {
	return []dialogue{
		{name: "a short response is counted", handler: answer("hello"), send: get + "\r\n", want: []string{`200 Content-Length:5 "hello"`, "goes on"}},
		{name: "a response without a body is counted", handler: nothing, send: get + "\r\n", want: []string{"200 Content-Length:0", "goes on"}},
		{name: "a long response goes in chunks", send: get + "\r\n", want: []string{"200 in chunks 100000 bytes", "goes on"},
			handler: answer(strings.Repeat("x", 100_000))},
		{name: "a response that is flushed goes in chunks", send: get + "\r\n", want: []string{`200 in chunks "ab"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "a")
				w.(http.Flusher).Flush()
				io.WriteString(w, "b")
			}},
		{name: "a length that is set is kept", send: get + "\r\n", want: []string{`200 Content-Length:2 "ab"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "2")
				w.(http.Flusher).Flush()
				io.WriteString(w, "ab")
			}},
		{name: "a length loses the zeros in front", send: get + "\r\n", want: []string{`200 Content-Length:2 "ab"`, "goes on"},
			standard: []string{`200 Content-Length:002 "ab"`, "goes on"}, why: "it is written as it was understood",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "002")
				io.WriteString(w, "ab")
			}},
		{name: "a length of nothing is kept", send: get + "\r\n", want: []string{"200 Content-Length:0", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "0") }},
		{name: "too little is no complete response", send: get + "\r\n", want: []string{`200 Content-Length:5 "ab"`, "breaks off"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "5")
				io.WriteString(w, "ab")
			}},
		{name: "too much is no complete response", send: get + "\r\n", want: []string{"ends"},
			standard: []string{`200 Content-Length:2 "ab"`, "ends"}, why: "what a handler that has failed wrote is not to be taken for what it would have said",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "2")
				io.WriteString(w, "ab")
				if _, err := io.WriteString(w, "c"); !errors.Is(err, http.ErrContentLength) {
					panic(err)
				}
			}},
		{name: "a length that is none is left out", send: get + "\r\n", want: []string{`200 Content-Length:2 "ab"`, "goes on"},
			standard: []string{`200 in chunks "ab"`, "goes on"}, why: "the length is known",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "2x")
				io.WriteString(w, "ab")
			}},
		{name: "chunks that are asked for are sent", send: get + "\r\n", want: []string{`200 in chunks "ab"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Transfer-Encoding", "chunked")
				io.WriteString(w, "ab")
			}},
		{name: "a length beside chunks is kept, and they are not", send: get + "\r\n", want: []string{`200 Content-Length:2 "ab"`, "goes on"},
			standard: []string{`200 in chunks "ab"`, "goes on"}, why: "a length tells more, and the two never go together",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Transfer-Encoding", "chunked")
				w.Header().Set("Content-Length", "2")
				io.WriteString(w, "ab")
			}},
		{name: "a length that is nil is that of the body", send: get + "\r\n", want: []string{`200 Content-Length:2 "ab"`, "goes on"},
			standard: []string{`200 in chunks "ab"`, "goes on"}, why: "the length is known",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Length"] = nil
				io.WriteString(w, "ab")
			}},
		{name: "HTTP/1.0 does not go on if the handler ends it", send: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", want: []string{`HTTP/1.0 200 Connection:close Content-Length:2 "ab" close`, "ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
				io.WriteString(w, "ab")
			}},
		{name: "chunks are not sent to HTTP/1.0", send: "GET / HTTP/1.0\r\n\r\n", want: []string{`HTTP/1.0 200 "ab" close`, "ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "a")
				w.(http.Flusher).Flush()
				io.WriteString(w, "b")
			}},
		{name: "HTTP/1.0 ends with the response", handler: answer("ab"), send: "GET / HTTP/1.0\r\n\r\n", want: []string{`HTTP/1.0 200 Content-Length:2 "ab" close`, "ends"}},
		{name: "HTTP/1.0 goes on if it asks for it", handler: answer("ab"), send: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			want: []string{`HTTP/1.0 200 Connection:keep-alive Content-Length:2 "ab"`, "goes on"}},
		{name: "HTTP/1.0 goes on behind 204", send: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", want: []string{"HTTP/1.0 204 Connection:keep-alive", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		{name: "HTTP/1.0 goes on behind 304", send: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", want: []string{"HTTP/1.0 304 Connection:keep-alive", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }},
		{name: "trailers that are announced follow", send: get + "\r\n", want: []string{`200 in chunks "ab" trailer X:y`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", "X")
				io.WriteString(w, "ab")
				w.Header().Set("X", "y")
			}},
		{name: "trailers with the prefix follow", send: get + "\r\n", want: []string{`200 in chunks "ab" trailer X:y`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "ab")
				w.(http.Flusher).Flush()
				w.Header().Set(http.TrailerPrefix+"X", "y")
			}},
	}
}

// bodiless are about responses without a body.
func bodiless() (all []dialogue) {
	for _, status := range []int{204, 304} {
		all = append(all, dialogue{name: fmt.Sprint(status, " has no body"), send: get + "\r\n", want: []string{fmt.Sprint(status), "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
					panic(err)
				}
			}})
	}
	return append(all,
		dialogue{name: "nor has that to HEAD, whatever is written", send: head + "\r\n", want: []string{"304 Content-Length:2", "goes on"},
			standard: []string{"304", "goes on"}, why: "it may tell the length that a 200 would have (RFC 9110, section 8.6)",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "2")
				w.WriteHeader(304)
				if _, err := io.WriteString(w, "abc"); !errors.Is(err, http.ErrBodyNotAllowed) {
					panic(err)
				}
			}},
		dialogue{name: "HEAD gets no length that was not set", handler: answer("hello"), send: head + "\r\n", want: []string{"200", "goes on"},
			standard: []string{"200 Content-Length:5", "goes on"}, why: "a handler may write less for HEAD than for GET, and who writes the length knows it"},
		dialogue{name: "HEAD gets the length that is set", send: head + "\r\n", want: []string{"200 Content-Length:100", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "100") }},
		dialogue{name: "HEAD gets no body by ReadFrom", send: head + "\r\n", want: []string{"200 Content-Length:3", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "3")
				w.(io.ReaderFrom).ReadFrom(strings.NewReader("abc"))
			}},
		dialogue{name: "HEAD gets no long body", send: head + "\r\n", want: []string{"200", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.(http.Flusher).Flush()
				io.WriteString(w, strings.Repeat("x", 100_000))
			}},
	)
}

// bodies are about the body of a request.
func bodies() []dialogue {
	const big = 300 << 10
	return []dialogue{
		{name: "a counted body is read", handler: echo, send: post + "Content-Length: 3\r\n\r\nabc", want: []string{`200 Content-Length:4 "abc."`, "goes on"}},
		{name: "a body in chunks is read", handler: echo, send: post + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", want: []string{`200 Content-Length:4 "abc."`, "goes on"}},
		{name: "there may be no body", handler: echo, send: post + "\r\n", want: []string{`200 Content-Length:1 "."`, "goes on"}},
		{name: "trailers are read", send: post + "Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n", want: []string{`200 Content-Length:1 "y"`, "goes on"},
			handler: func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				io.WriteString(w, r.Trailer.Get("X"))
			}},
		{name: "a short body that nobody reads is passed over", handler: answer("ok"), send: post + "Content-Length: 10000\r\n\r\n" + strings.Repeat("x", 10_000), want: []string{`200 Content-Length:2 "ok"`, "goes on"}},
		{name: "a long one ends the connection", handler: answer("ok"), send: post + fmt.Sprintf("Content-Length: %d\r\n\r\n", 10*big), want: []string{`200 Content-Length:2 "ok" close`, "ends"}},
		{name: "a long one in chunks is passed over", handler: answer("ok"), send: post + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n", big, strings.Repeat("x", big)) + "0\r\n\r\n", want: []string{`200 Content-Length:2 "ok"`, "goes on"},
			standard: []string{`200 Content-Length:2 "ok" close`, "ends"}, why: "the answer does not wait for the body, whose length nobody knows, and so cannot say that the connection ends"},
		{name: "a body that is closed is passed over", send: post + "Content-Length: 3\r\n\r\nabc", want: []string{`200 Content-Length:2 "ok"`, "goes on"},
			handler: func(w http.ResponseWriter, r *http.Request) {
				r.Body.Close()
				if _, err := r.Body.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
					panic(err)
				}
				io.WriteString(w, "ok")
			}},
		{name: "a handler may take the body away", send: post + "Content-Length: 3\r\n\r\nabc", want: []string{`200 Content-Length:2 "ok"`, "goes on"},
			handler: func(w http.ResponseWriter, r *http.Request) {
				r.Body = nil
				io.WriteString(w, "ok")
			}},
		{name: "an end within a body ends the connection", send: post + "Content-Length: 9\r\n\r\nabc", half: true, want: []string{`200 Content-Length:6 "abc..." close`, "ends"},
			standard: []string{`200 Content-Length:6 "abc..."`, "ends"}, why: "nothing can follow", handler: echo},
		{name: "a chunk that is none ends the connection", handler: echo, send: post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcXY", want: []string{`200 Content-Length:4 "abc?" close`, "ends"}},
		{name: "a trailer that is none ends the connection", handler: echo, send: post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX\r\n\r\n" + get + "\r\n", want: []string{`200 Content-Length:4 "abc?" close`, "ends"}},
		{name: "an empty line behind a body is passed over", handler: echo, send: post + "Content-Length: 3\r\n\r\nabc\r\n" + get + "\r\n", want: []string{`200 Content-Length:4 "abc."`, `200 Content-Length:1 "."`, "goes on"}},
		{name: "two requests at once are served in order", send: post + "Content-Length: 1\r\n\r\na" + post + "Content-Length: 1\r\n\r\nb", handler: echo, want: []string{`200 Content-Length:2 "a."`, `200 Content-Length:2 "b."`, "goes on"}},
		{name: "a client that only reads any more is served", handler: answer("ok"), send: get + "\r\n", half: true, want: []string{`200 Content-Length:2 "ok"`, "ends"}},
	}
}

// expectations are about Expect: 100-continue.
func expectations() []dialogue {
	const expecting = post + "Expect: 100-continue\r\n"
	return []dialogue{
		{name: "a body that is read is asked for", handler: echo, send: expecting + "Content-Length: 3\r\n\r\nabc", want: []string{"100", `200 Content-Length:4 "abc."`, "goes on"}},
		{name: "one in chunks as well", handler: echo, send: expecting + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", want: []string{"100", `200 Content-Length:4 "abc."`, "goes on"}},
		{name: "a body that nobody reads is not", handler: answer("no"), send: expecting + "Content-Length: 3\r\n\r\n", half: true, want: []string{`200 Content-Length:2 "no" close`, "ends"}},
		{name: "nor where there is none", handler: echo, send: expecting + "Content-Length: 0\r\n\r\n", want: []string{`200 Content-Length:1 "."`, "goes on"}},
		{name: "nor in HTTP/1.0", handler: echo, send: "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", want: []string{`HTTP/1.0 200 Content-Length:4 "abc." close`, "ends"}},
		{name: "nor when the answer is on its way", send: expecting + "Content-Length: 3\r\n\r\n", half: true, want: []string{`401 Content-Length:2 "no" close`, "ends"},
			handler: func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(401)
				io.WriteString(w, "no")
			}},
		{name: "an expectation that is unknown", handler: echo, send: post + "Expect: more\r\nContent-Length: 0\r\n\r\n", want: []string{"417 Content-Length:63 Content-Type:text/plain; charset=utf-8 63 bytes close", "ends"},
			standard: []string{"417 Content-Length:0 close", "ends"}, why: "what was refused is said, as for all that is refused"},
		{name: "a handler may ask itself", send: expecting + "Content-Length: 3\r\n\r\nabc", want: []string{"100", `200 Content-Length:3 "abc"`, "goes on"},
			handler: func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(100)
				io.Copy(w, r.Body)
			}},
	}
}

// heads are about the head of a response.
func heads() []dialogue {
	return []dialogue{
		{name: "the head is as it was when it was written", send: get + "\r\n", want: []string{`201 Content-Length:1 X:a "b"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X", "a")
				w.WriteHeader(201)
				w.Header().Set("X", "b")
				w.Header().Set("Y", "c")
				w.WriteHeader(500)
				io.WriteString(w, "b")
			}},
		{name: "no type is guessed", guess: true, handler: answer("<html>"), send: get + "\r\n", want: []string{`200 Content-Length:6 "<html>"`, "goes on"},
			standard: []string{`200 Content-Length:6 Content-Type:text/html; charset=utf-8 "<html>"`, "goes on"}, why: "whoever guesses may be wrong, and browsers believe it"},
		{name: "a Date of the handler's is kept", send: get + "\r\n", want: []string{"200 Content-Length:0", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", "x") }},
		{name: "no Date if it says so", send: get + "\r\n", want: []string{"200 without a Date Content-Length:0", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil }},
		{name: "a field with several values is several lines", send: get + "\r\n", want: []string{"200 Content-Length:0 X:a X:b", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header()["X"] = []string{"a", "b"} }},
		{name: "a line end in a value makes no line", send: get + "\r\n", want: []string{"200 Content-Length:0 X:a  Y: b", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", "a\r\nY: b") }},
		{name: "a name that is none is left out", send: get + "\r\n", want: []string{"200 Content-Length:0", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header()["X y"] = []string{"a"} }},
		{name: "a handler may end the connection", send: get + "\r\n", want: []string{"200 Content-Length:0 close", "ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }},
		{name: "so may the client", handler: nothing, send: get + "Connection: close\r\n\r\n", want: []string{"200 Content-Length:0 close", "ends"}},
		{name: "early hints come before the response", send: get + "\r\n", want: []string{"103 Link:a", "103 Link:a Link:b", `200 Content-Length:2 Link:a Link:b "ok"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Add("Link", "a")
				w.WriteHeader(103)
				w.Header().Add("Link", "b")
				w.WriteHeader(103)
				io.WriteString(w, "ok")
			}},
		{name: "interim responses have no length", send: get + "\r\n", want: []string{"102", "200 Content-Length:0", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "0")
				w.WriteHeader(102)
			}},
		{name: "protocols are switched", send: get + "Connection: upgrade\r\nUpgrade: x\r\n\r\n", want: []string{"101 Connection:upgrade Upgrade:x", `"hi" and ends`},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "upgrade")
				w.Header().Set("Upgrade", "x")
				w.WriteHeader(101)
				conn, rw, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				rw.WriteString("hi")
				rw.Flush()
				conn.Close()
			}},
		{name: "a header may be put in the place of the response's", send: get + "\r\n", want: []string{`200 Content-Length:2 X:y "ok"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Z", "z")
				h := http.Header{"Content-Length": {"2"}, "X": {"y"}}
				if adopts, ok := w.(interface{ AdoptHeader(h http.Header) }); ok {
					adopts.AdoptHeader(h)
				}
				io.WriteString(w, "ok")
			},
			standard: []string{`200 Content-Length:2 Z:z "ok"`, "goes on"}, why: "only this server has the method"},
		{name: "early hints are not sent to HTTP/1.0", send: "GET / HTTP/1.0\r\n\r\n", want: []string{`HTTP/1.0 200 Content-Length:2 Link:a "ok" close`, "ends"},
			standard: []string{"HTTP/1.0 103 Link:a", `HTTP/1.0 200 Content-Length:2 Link:a "ok" close`, "ends"}, why: "it has no 1xx (RFC 9110, section 15.2)",
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Add("Link", "a")
				w.WriteHeader(103)
				io.WriteString(w, "ok")
			}},
		{name: "a field without values is no field", send: get + "\r\n", want: []string{"200 Content-Length:0", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.Header()["X"] = nil }},
		{name: "what is set behind the head is late", send: get + "\r\n", want: []string{`200 in chunks "late"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "late")
				w.(http.Flusher).Flush()
				w.Header().Set("X", "y")
				w.WriteHeader(500)
			}},
		{name: "304 tells what it was told to", send: get + "\r\n", want: []string{`304 Etag:"x"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Etag", `"x"`)
				w.WriteHeader(304)
			}},
		{name: "trailers are not sent to HTTP/1.0", send: "GET / HTTP/1.0\r\n\r\n", want: []string{`HTTP/1.0 200 Trailer:X "ab" close`, "ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", "X")
				io.WriteString(w, "ab")
				w.Header().Set("X", "y")
			}},
		{name: "HTTP/1.0 does not go on where the length is not known", send: "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", want: []string{`HTTP/1.0 200 "ab" close`, "ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "ab")
				w.(http.Flusher).Flush()
			}},
		{name: "a status is a status", send: get + "\r\n", want: []string{"999 (status code 999) Content-Length:0", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(999) }},
		{name: "the case of a method counts", send: "get / HTTP/1.1\r\nHost: h\r\n\r\n", want: []string{`200 Content-Length:3 "get"`, "goes on"},
			handler: func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method) }},
	}
}

// failures are about handlers that fail, and those that take the connection.
func failures() []dialogue {
	return []dialogue{
		{name: "a panic ends the connection", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, send: get + "\r\n", want: []string{"ends"}},
		{name: "a panic behind a part leaves that incomplete", send: get + "\r\n", want: []string{`200 in chunks "a"`, "breaks off"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "a")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}},
		{name: "whoever takes the connection has it", send: post + "Content-Length: 3\r\n\r\nabc", want: []string{"200 Content-Length:3 \"abc\" close", "ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				conn, rw, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				defer conn.Close()
				body := make([]byte, 3)
				io.ReadFull(rw, body)
				fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\n%s", body)
				rw.Flush()
				if _, err := w.Write([]byte("x")); err != http.ErrHijacked {
					panic(err)
				}
				if _, _, err := w.(http.Hijacker).Hijack(); err != http.ErrHijacked {
					panic(err)
				}
			}},
		{name: "whoever takes it gets what was sent ahead", send: get + "\r\nmore\n", alone: true, want: []string{`200 Content-Length:5 "more\n" close`, "ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				conn, rw, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				defer conn.Close()
				line, _ := rw.ReadString('\n')
				fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(line), line)
				rw.Flush()
			}},
		{name: "whoever has taken it cannot write nothing either", send: get + "\r\n", want: []string{"ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				defer conn.Close()
				if n, err := w.Write(nil); n != 0 || err != http.ErrHijacked {
					io.WriteString(conn, "written")
				}
			}},
		{name: "a file is sent as it is", send: get + "\r\n", want: []string{"200 Content-Length:300000 300000 bytes", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				sendFile(w, 300_000, true)
			}},
		{name: "a file without a length goes in chunks", send: get + "\r\n", want: []string{"200 in chunks 300000 bytes", "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				sendFile(w, 300_000, false)
			}},
		{name: "what was written before goes out first", send: get + "\r\n", want: []string{`200 in chunks "ab"`, "ends"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "a")
				w.(http.Flusher).Flush()
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				io.WriteString(conn, "1\r\nb\r\n0\r\n\r\n")
				conn.Close()
			}},
		{name: "ReadFrom and Write keep their order", send: get + "\r\n", want: []string{`200 Content-Length:6 "abcdef"`, "goes on"},
			handler: func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "ab")
				w.(io.ReaderFrom).ReadFrom(bytes.NewReader([]byte("cd")))
				io.WriteString(w, "ef")
			}},
		{name: "the body may be read while the response is written", send: post + "Content-Length: 3\r\n\r\nabc", want: []string{`200 in chunks "abc"`, "goes on"},
			handler: func(w http.ResponseWriter, r *http.Request) {
				rc := http.NewResponseController(w)
				if err := rc.EnableFullDuplex(); err != nil {
					panic(err)
				}
				if err := rc.Flush(); err != nil {
					panic(err)
				}
				io.Copy(w, r.Body)
			}},
	}
}

// sendFile answers with a file of that size.
func sendFile(w http.ResponseWriter, size int, counted bool) {
	f, err := os.CreateTemp("", "")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if err := f.Truncate(int64(size)); err != nil {
		panic(err)
	}
	if counted {
		w.Header().Set("Content-Length", fmt.Sprint(size))
	}
	if n, err := io.Copy(w, f); n != int64(size) || err != nil {
		panic(err)
	}
}
