package forward_test

import "strings"

const (
	get  = "GET / HTTP/1.1\r\nHost: app.test\r\n"
	post = "POST / HTTP/1.1\r\nHost: app.test\r\n"
	ok   = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
)

const (
	ownAnswer   = "the caller's answer is another"
	asItCame    = "the reference re-encodes the target"
	ownTrust    = "ours knows trusted peers, and drops more of what others say about the client"
	askedAnyway = "the reference asks for the body that is not wanted any more"
	takenOut    = "the reference lets the server take length and type out"
	namesOption = "the reference sends a TE that no connection option names (RFC 9110, section 10.1.4)"
	earlyHangs  = "behind net/http's server, the reference waits for the client's body before it answers"

	// Of these, the reference does sometimes one thing, sometimes another.
	countsByChance = "the reference lets the server count an empty body, unless a timer is quicker"
	namesByChance  = "the reference announces trailers in any order"
	asksByChance   = "the reference may pass the 100 on beside the server's own"
)

var table = []row{
	// Requests.
	{
		name: "a plain request", send: get + "Accept: */*\r\nX-A: b\r\n\r\n", answer: ok,
		arrives: []string{"GET / HTTP/1.1", "Host: app.test", "Accept: */*", "X-A: b", "X-Forwarded-For: 127.0.0.1",
			"X-Forwarded-Proto: http", "X-Forwarded-Host: app.test", "X-Request-Id: our-id", "X-Request-Start: t=1700000000123"},
		gets: []string{"HTTP/1.1 200 OK", `"ok" (2 of 2)`, "open"},
	},
	{
		name: "repeated fields keep their order", send: get + "X-A: 2\r\nX-B: x\r\nX-A: 1\r\nx-a: 3\r\n\r\n", answer: ok,
		arrives: []string{"X-A: 2", "X-A: 1", "X-A: 3"},
	},
	{
		name: "hop-by-hop fields stay here",
		send: get + "Connection: keep-alive, X-Secret\r\nX-Secret: a\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n" +
			"Proxy-Authorization: Basic x\r\nTE: gzip\r\nTrailer: X-T\r\nUpgrade: websocket\r\nX-A: b\r\n\r\n",
		answer: ok,
		arrives: []string{"X-A: b", "!Connection: keep-alive, X-Secret", "!X-Secret: a", "!Keep-Alive: timeout=5", "!Proxy-Connection: keep-alive",
			"!Proxy-Authorization: Basic x", "!Te: gzip", "!Trailer: X-T", "!Upgrade: websocket"},
	},
	{
		name: "a client cannot silence the proxy",
		send: post + "Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-Id, X-Request-Start, Content-Length, Host\r\n" +
			"Content-Length: 5\r\n\r\nhello",
		until: "hello", answer: ok,
		arrives: []string{"Host: app.test", "Content-Length: 5", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http",
			"X-Forwarded-Host: app.test", "X-Request-Id: our-id", "X-Request-Start: t=1700000000123", `"hello" (5 of 5)`},
		gets: []string{"closed"},
	},
	{
		name: "not even a trusted one",
		send: get + "Connection: close, X-Forwarded-For, X-Forwarded-Port, X-Real-IP, Forwarded\r\n" +
			"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n\r\n",
		answer: ok, trusted: true,
		arrives: []string{"X-Forwarded-For: 192.0.2.1, 127.0.0.1", "X-Forwarded-Port: 443", "X-Real-Ip: 192.0.2.1", "Forwarded: for=192.0.2.1"},
		differs: ownTrust,
	},
	{
		name: "TE: trailers goes on", send: get + "TE: gzip, trailers\r\nConnection: TE\r\n\r\n", answer: ok,
		arrives: []string{"Te: trailers", "Connection: TE"},
		differs: namesOption,
	},
	{
		name: "and beside an upgrade", send: get + "TE: trailers\r\nConnection: TE, Upgrade\r\nUpgrade: foo\r\n\r\n", answer: ok,
		arrives: []string{"Te: trailers", "Upgrade: foo", "Connection: Upgrade, TE"},
		differs: namesOption,
	},
	{
		name: "what an untrusted peer says about the client is replaced or dropped",
		send: get + "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 443\r\n" +
			"X-Forwarded-Prefix: /x\r\nForwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nX-Request-Start: t=1\r\nX-Request-ID: theirs\r\n\r\n",
		answer: ok,
		arrives: []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: app.test", "!X-Forwarded-Port: 443",
			"!X-Forwarded-Prefix: /x", "!Forwarded: for=192.0.2.1", "!X-Real-Ip: 192.0.2.1", "X-Request-Start: t=1700000000123", "!X-Request-Start: t=1",
			"X-Request-Id: our-id", "!X-Request-Id: theirs"},
		differs: ownTrust,
	},
	{
		name: "what a trusted peer says is kept, and continued",
		send: get + "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.test\r\nX-Forwarded-Port: 443\r\n" +
			"X-Forwarded-Prefix: /x\r\nForwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nX-Request-Start: t=1\r\nX-Request-ID: theirs\r\n\r\n",
		answer: ok, trusted: true,
		arrives: []string{"X-Forwarded-For: 192.0.2.1, 192.0.2.2, 127.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.test", "X-Forwarded-Port: 443",
			"X-Forwarded-Prefix: /x", "Forwarded: for=192.0.2.1", "X-Real-Ip: 192.0.2.1", "X-Request-Start: t=1", "!X-Request-Start: t=1700000000123",
			"X-Request-Id: our-id"},
		differs: ownTrust,
	},
	{
		name: "names that look like ours behind a gateway are dropped, whoever sends them",
		send: get + "X_Forwarded_For: 192.0.2.1\r\nX_FORWARDED-PROTO: https\r\nX-Real_IP: 192.0.2.1\r\nX_Request_Id: x\r\nX_Request_Start: t=1\r\n" +
			"Transfer_Encoding: chunked\r\nContent_Length: 7\r\nHost_: a\r\nX_A: b\r\n\r\n",
		answer: ok, trusted: true,
		arrives: []string{"X_a: b", "Host_: a", "!X_forwarded_for: 192.0.2.1", "!X_forwarded-Proto: https", "!X-Real_ip: 192.0.2.1", "!X_request_id: x",
			"!X_request_start: t=1", "!Transfer_encoding: chunked", "!Content_length: 7"},
		differs: "the reference passes them on",
	},
	{
		name: "Proxy is dropped", send: get + "Proxy: http://evil.test\r\n\r\n", answer: ok,
		arrives: []string{"!Proxy: http://evil.test"},
		differs: "the reference passes it on (httpoxy)",
	},
	{
		name: "below a stripped prefix", send: "GET /api/a%2fb?c HTTP/1.1\r\nHost: app.test\r\n\r\n", answer: ok,
		setup:   func(p *proxy) { p.prefix = "/api" },
		arrives: []string{"GET /a%2fb?c HTTP/1.1", "X-Forwarded-Prefix: /api"},
		differs: "the reference strips nothing",
	},
	{
		name: "below two stripped prefixes", send: "GET /api/a HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Prefix: /outer/\r\n\r\n", answer: ok,
		setup: func(p *proxy) { p.prefix = "/api" }, trusted: true,
		arrives: []string{"GET /a HTTP/1.1", "X-Forwarded-Prefix: /outer/api"},
		differs: "the reference strips nothing",
	},
	{
		name: "the target goes on byte for byte", send: "GET /a%2Fb{};p\\?q=%zz;r{} HTTP/1.1\r\nHost: app.test\r\n\r\n", answer: ok,
		arrives: []string{"GET /a%2Fb{};p\\?q=%zz;r{} HTTP/1.1"},
		differs: asItCame,
	},
	{
		name: "of an absolute target the path goes on, and its authority is the Host",
		send: "GET http://other.test/a%2Fb?c HTTP/1.1\r\nHost: app.test\r\n\r\n", answer: ok,
		arrives: []string{"GET /a%2Fb?c HTTP/1.1", "Host: other.test"},
	},
	{
		name: "an opaque target is refused", send: "GET x:http://evil.test/admin HTTP/1.1\r\nHost: app.test\r\n\r\n", answer: ok,
		arrives: []string{"", "!Host: app.test"}, gets: []string{"HTTP/1.1 400 Bad Request"},
		differs: "the reference asks the target for http://evil.test/admin",
	},
	{
		name: "a fragment is refused", send: "GET /x#frag HTTP/1.1\r\nHost: app.test\r\n\r\n", answer: ok,
		arrives: []string{"", "!Host: app.test"}, gets: []string{"HTTP/1.1 400 Bad Request"},
		differs: asItCame,
	},
	{
		name: "no Host in HTTP/1.0", send: "GET / HTTP/1.0\r\n\r\n", answer: ok,
		arrives: []string{"GET / HTTP/1.1", "!Host: app:80", "!X-Forwarded-Host: app:80", "!X-Forwarded-Host: "}, gets: []string{"HTTP/1.0 200 OK", "closed"},
		differs: "the reference forwards an empty one, and tells the target its own address",
	},
	{
		name: "no field is invented", send: get + "\r\n", answer: ok,
		arrives: []string{"!User-Agent: Go-http-client/1.1", "!Accept-Encoding: gzip", "!Via: 1.1 proxy"},
	},

	// Bodies of requests.
	{
		name: "a counted body", send: post + "Content-Length: 5\r\n\r\nhello", until: "hello", answer: ok,
		arrives: []string{"Content-Length: 5", `"hello" (5 of 5)`}, gets: []string{"HTTP/1.1 200 OK", "open"},
	},
	{
		name: "a chunked body", send: post + "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", until: "0\r\n\r\n", answer: ok,
		arrives: []string{"Transfer-Encoding: chunked", `"hello"`}, gets: []string{"HTTP/1.1 200 OK", "open"},
	},
	{
		name: "an empty body is said to be empty", send: post + "Content-Length: 0\r\n\r\n", answer: ok,
		arrives: []string{"Content-Length: 0"},
	},
	{
		name: "a GET may have a body", send: get + "Content-Length: 5\r\n\r\nhello" + get + "X-Second: 2\r\n\r\n", until: "hello", answer: ok,
		arrives: []string{"Content-Length: 5", `"hello" (5 of 5)`},
	},
	{
		name: "requests in a pipe are served in order", send: get + "X-A: 1\r\n\r\n" + get + "X-A: 2\r\n\r\n", answer: ok,
		arrives: []string{"X-A: 1", "X-A: 2"}, gets: []string{"open"},
	},
	{
		name: "announced trailers of a request",
		send: post + "Transfer-Encoding: chunked\r\nTrailer: X-Sum, Cookie, X-Forwarded-For\r\n\r\n" +
			"5\r\nhello\r\n0\r\nX-Sum: 1\r\nCookie: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
		until: "\r\n\r\n", answer: ok,
		arrives: []string{"Trailer: X-Sum", `"hello"`, "trailer X-Sum: 1"},
		differs: "the reference announces trailers and then sends none",
	},
	{
		name:  "trailers of a request that were not announced",
		send:  post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nAuthorization: x\r\nX_Forwarded_For: a\r\nHost : b\r\n\r\n",
		until: "\r\n\r\n", answer: ok,
		arrives: []string{`"hello"`, "trailer X-Sum: 1", "!trailer Authorization: x", "!trailer X_forwarded_for: a", "!trailer Host : b"},
		differs: "the reference drops them",
	},
	{
		name: "a body that ends early is not completed", send: post + "Content-Length: 20000\r\n\r\nhel", ends: true, until: "hello", answer: ok,
		arrives: []string{`!"hel" (20000 of 20000)`}, gets: []string{"HTTP/1.1 502 Bad Gateway", "Connection: close", "closed"},
		differs: ownAnswer,
	},
	{
		name: "nor a chunked one", send: post + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", ends: true, until: "0\r\n\r\n", answer: ok,
		arrives: []string{`!"hel"`, `!""`}, gets: []string{"HTTP/1.1 502 Bad Gateway", "Connection: close", "closed"},
		differs: ownAnswer,
	},
	{
		name: "what follows a malformed body is no request",
		send: post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n" + get + "X-Smuggled: 1\r\n\r\n", until: "0\r\n\r\n", answer: ok,
		arrives: []string{"!X-Smuggled: 1"}, gets: []string{"HTTP/1.1 502 Bad Gateway", "Connection: close", "closed"},
		differs: ownAnswer,
	},

	// Expectations, interim and early answers.
	{
		name: "a client waits for the target's 100", send: post + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", after: "hello",
		answer:  "HTTP/1.1 100 Continue\r\n\r\n",
		arrives: []string{"Expect: 100-continue", "Content-Length: 5"}, gets: []string{"HTTP/1.1 100 Continue"},
		differs: asksByChance,
	},
	{
		name: "not for long if there is none", send: post + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", after: "hello",
		until: "hello", answer: ok,
		arrives: []string{"Expect: 100-continue", `"hello" (5 of 5)`}, gets: []string{"HTTP/1.1 100 Continue", "HTTP/1.1 200 OK", "open"},
	},
	{
		name: "an expectation may be refused", send: post + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
		answer:  "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
		arrives: []string{"Expect: 100-continue", `"" (0 of 5)`},
		gets:    []string{"HTTP/1.1 417 Expectation Failed", "Connection: close", "!HTTP/1.1 100 Continue", "closed"},
		differs: askedAnyway,
	},
	{
		name: "or be superfluous", send: post + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", answer: ok,
		gets:    []string{"HTTP/1.1 200 OK", "Connection: close", "!HTTP/1.1 100 Continue", "closed"},
		differs: askedAnyway,
	},
	{
		name: "an expectation without a body is none", send: get + "Expect: 100-continue\r\n\r\n", answer: ok,
		arrives: []string{"!Expect: 100-continue"},
		differs: "the reference passes it on",
	},
	{
		name: "nor is one of HTTP/1.0", send: "POST / HTTP/1.0\r\nHost: app.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
		until: "hello", answer: ok,
		arrives: []string{"!Expect: 100-continue", `"hello" (5 of 5)`}, gets: []string{"HTTP/1.0 200 OK", "!HTTP/1.0 100 Continue"},
		differs: "the reference passes it on",
	},
	{
		name: "an unknown expectation", send: get + "Expect: nonsense\r\n\r\n", answer: ok,
		arrives: []string{"", "!Host: app.test"}, gets: []string{"HTTP/1.1 417 Expectation Failed", "closed"},
	},
	{
		name: "early hints", send: get + "\r\n",
		answer:  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Secret\r\nX-Secret: a\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + ok,
		gets:    []string{"HTTP/1.1 103 Early Hints", "Link: </a>", "Link: </b>", "!X-Secret: a", "HTTP/1.1 200 OK"},
		differs: "the reference passes on an interim answer's hop-by-hop fields",
	},
	{
		name: "early hints are not merged into the final head", send: get + "\r\n",
		answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok,
		gets:   []string{"HTTP/1.1 103 Early Hints", "Link: </a>", "HTTP/1.1 200 OK"},
	},
	{
		name: "a 100 that nobody asked for", send: get + "\r\n", answer: "HTTP/1.1 100 Continue\r\n\r\n" + ok,
		gets: []string{"HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"},
	},
	{
		name: "HTTP/1.0 knows no interim answers", send: "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n",
		answer:  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok,
		gets:    []string{"!HTTP/1.0 103 Early Hints", "!HTTP/1.1 103 Early Hints", "!Link: </a>", "HTTP/1.0 200 OK", "closed"},
		differs: "the reference passes them on",
	},
	{
		name: "an early answer to a counted upload", send: post + "Content-Length: 1000000\r\n\r\nhello",
		answer:  "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno",
		gets:    []string{"HTTP/1.1 413 Request Entity Too Large", "Connection: close", `"no" (2 of 2)`, "closed"},
		differs: earlyHangs,
	},
	{
		name: "an early answer to a chunked upload", send: post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		answer:  "HTTP/1.1 302 Found\r\nLocation: /login\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
		gets:    []string{"HTTP/1.1 302 Found", "Location: /login", "Connection: close", `"no"`, "closed"},
		differs: earlyHangs,
	},

	// Answers.
	{
		name: "repeated fields of an answer keep their order", send: get + "\r\n",
		answer: "HTTP/1.1 200 OK\r\nSet-Cookie: b=1\r\nSet-Cookie: a=2\r\nset-cookie: c=3\r\nContent-Length: 0\r\n\r\n",
		gets:   []string{"Set-Cookie: b=1", "Set-Cookie: a=2", "Set-Cookie: c=3", "Content-Length: 0"},
	},
	{
		name: "hop-by-hop fields of an answer stay here", send: get + "\r\n",
		answer: "HTTP/1.1 200 OK\r\nConnection: close, X-Secret\r\nX-Secret: a\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nProxy-Authenticate: x\r\n" +
			"Upgrade: h2c\r\nTe: x\r\nTrailer: X-T\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok",
		gets: []string{"X-A: b", "!X-Secret: a", "!Keep-Alive: timeout=5", "!Proxy-Connection: x", "!Proxy-Authenticate: x", "!Upgrade: h2c", "!Te: x",
			"!Trailer: X-T", "!Connection: close", "open"},
		differs: "the reference does not see what Connection names beside close",
	},
	{
		name: "no type is guessed", send: get + "\r\n", answer: "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n<script>",
		gets:    []string{`"<script>" (8 of 8)`, "!Content-Type: text/html; charset=utf-8", "!Content-Type: text/plain; charset=utf-8"},
		differs: "the reference lets the server sniff",
	},
	{
		name: "no length is invented for chunks", send: get + "\r\n",
		answer: "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		gets:   []string{"Transfer-Encoding: chunked", `"ok"`, "open"},
	},
	{
		name: "nor for none", send: get + "\r\n",
		answer:  "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		gets:    []string{"Transfer-Encoding: chunked", `""`, "open"},
		differs: countsByChance,
	},
	{
		name: "nor for a body that ends with its connection", send: get + "\r\n", hangUp: true,
		answer: "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nok",
		gets:   []string{"Transfer-Encoding: chunked", `"ok"`, "open"},
	},
	{
		name: "chunks for HTTP/1.0", send: "GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n",
		answer: "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		gets:   []string{"HTTP/1.0 200 OK", "!Transfer-Encoding: chunked", "!Content-Length: 2", `"ok" (2 of 2)`, "closed"},
	},
	{
		name: "HEAD keeps the length", send: "HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 500\r\n\r\n",
		arrives: []string{"HEAD / HTTP/1.1"}, gets: []string{"Content-Length: 500"},
	},
	{
		name: "HEAD of chunks", send: "HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n",
		gets: []string{"HTTP/1.1 200 OK", "!Content-Length: 0", "open"},
	},
	{
		name: "204", send: get + "\r\n", answer: "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
		gets: []string{"HTTP/1.1 204 No Content", "X-A: b", "!Content-Length: 0", "!Transfer-Encoding: chunked", "open"},
	},
	{
		name: "304", send: get + "If-None-Match: x\r\n\r\n", answer: "HTTP/1.1 304 Not Modified\r\nEtag: x\r\nContent-Length: 500\r\nContent-Type: text/html\r\n\r\n",
		gets:    []string{"HTTP/1.1 304 Not Modified", "Etag: x", "content-length: 500", "content-type: text/html", "open"},
		differs: takenOut,
	},
	{
		name: "304 for HEAD and HTTP/1.0", send: "HEAD / HTTP/1.0\r\nHost: app.test\r\n\r\n", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
		gets:    []string{"HTTP/1.0 304 Not Modified", "content-length: 500", "!Content-Type: ", "!content-type: ", "closed"},
		differs: takenOut,
	},
	{
		name: "304 that tells nothing", send: get + "\r\n", answer: "HTTP/1.1 304 Not Modified\r\n\r\n",
		gets: []string{"HTTP/1.1 304 Not Modified", "!content-length: 0", "!Content-Length: 0", "!content-type: ", "open"},
	},
	{
		name: "426 keeps what it requires", send: get + "\r\n",
		answer:  "HTTP/1.1 426 Upgrade Required\r\nUpgrade: HTTP/3.0, foo\r\nUpgrade: bar\r\nConnection: Upgrade, X-Secret\r\nX-Secret: a\r\nContent-Length: 2\r\n\r\nno",
		gets:    []string{"HTTP/1.1 426 Upgrade Required", "Upgrade: HTTP/3.0, foo", "Upgrade: bar", "Connection: Upgrade", "!X-Secret: a", `"no" (2 of 2)`, "open"},
		differs: "the reference takes it out",
	},
	{
		name: "426 to a client that closes", send: get + "Connection: close\r\n\r\n",
		answer:  "HTTP/1.1 426 Upgrade Required\r\nUpgrade: foo\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno",
		gets:    []string{"HTTP/1.1 426 Upgrade Required", "Upgrade: foo", "Connection: close", "Connection: Upgrade", "closed"},
		differs: "the reference takes it out",
	},
	{
		name: "426 to a client that is still sending", send: post + "Content-Length: 1000000\r\n\r\nhello",
		answer:  "HTTP/1.1 426 Upgrade Required\r\nUpgrade: foo\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno",
		gets:    []string{"HTTP/1.1 426 Upgrade Required", "Upgrade: foo", "Connection: close", "Connection: Upgrade", "closed"},
		differs: earlyHangs,
	},
	{
		name: "426 to HTTP/1.0, which knows no upgrade", send: "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n",
		answer: "HTTP/1.1 426 Upgrade Required\r\nUpgrade: foo\r\nConnection: Upgrade\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nno",
		gets:   []string{"HTTP/1.0 426 Upgrade Required", "!Upgrade: foo", "!Connection: Upgrade"},
	},
	{
		name: "no other answer names protocols", send: get + "\r\n",
		answer: "HTTP/1.1 400 Bad Request\r\nUpgrade: foo\r\nConnection: Upgrade\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nno",
		gets:   []string{"HTTP/1.1 400 Bad Request", "!Upgrade: foo", "!Connection: Upgrade", "open"},
	},
	{
		name: "205", send: get + "\r\n", answer: "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
		gets: []string{"HTTP/1.1 205 Reset Content", "Content-Length: 0", "open"},
	},
	{
		name: "206", send: get + "Range: bytes=0-1\r\n\r\n", answer: "HTTP/1.1 206 Partial Content\r\nContent-Type: a/b\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok",
		arrives: []string{"Range: bytes=0-1"}, gets: []string{"HTTP/1.1 206 Partial Content", "Content-Range: bytes 0-1/9", `"ok" (2 of 2)`},
	},
	{
		name: "999", send: get + "\r\n", answer: "HTTP/1.1 999 Whatever\r\nContent-Length: 0\r\n\r\n",
		gets: []string{"HTTP/1.1 999 status code 999", "open"},
	},
	{
		name: "an answer that was not asked to be compressed is as it is", send: get + "\r\n",
		answer: "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok",
		gets:   []string{"Content-Encoding: gzip", "Content-Length: 2", `"ok" (2 of 2)`},
	},
	{
		name: "announced trailers", send: get + "TE: trailers\r\n\r\n",
		answer:  "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
		gets:    []string{"Trailer: X-Sum", `"ok"`, "trailer X-Sum: 1", "open"},
		differs: namesOption,
	},
	{
		name: "announced trailers after nothing", send: get + "TE: trailers\r\n\r\n",
		answer:  "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
		gets:    []string{"Trailer: X-Sum", `""`, "trailer X-Sum: 1", "open"},
		differs: namesOption,
	},
	{
		name: "trailers that were not announced", send: get + "TE: trailers\r\n\r\n",
		answer:  "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
		gets:    []string{"!Trailer: X-Sum", `"ok"`, "trailer X-Sum: 1", "open"},
		differs: namesOption,
	},
	{
		name: "of announced and unannounced ones, both", send: get + "TE: trailers\r\n\r\n",
		answer:  "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-A, X-C, X-B\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
		gets:    []string{"Trailer: X-A, X-B, X-C, X-Sum", "trailer X-Sum: 1", "trailer X-More: 2"},
		differs: namesByChance,
	},
	{
		name: "a trailer is not its namesake in the head", send: get + "\r\n",
		answer:  "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX-Sum: head\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		gets:    []string{"X-Sum: head", "!trailer X-Sum: head"},
		differs: "the reference sends the head's field as a trailer",
	},
	{
		name: "trailers that would mean something else than they look", send: get + "\r\n",
		answer: "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Set-Cookie, X-Forwarded-For\r\n\r\n2\r\nok\r\n0\r\n" +
			"X-Sum: 1\r\nSet-Cookie: a\r\nX-Forwarded-For: 192.0.2.1\r\nAuthorization: x\r\nHost: a\r\nX_Real_IP: a\r\nIf-Match: x\r\n\r\n",
		gets: []string{"Trailer: X-Sum", "trailer X-Sum: 1", "!trailer Set-Cookie: a", "!trailer X-Forwarded-For: 192.0.2.1", "!trailer Authorization: x",
			"!trailer Host: a", "!trailer X_real_ip: a", "!trailer If-Match: x"},
		differs: "the reference passes them on",
	},
	{
		name: "a counted body that ends early is visibly incomplete", send: get + "\r\n", hangUp: true,
		answer:  "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("x", 4990),
		gets:    []string{"HTTP/1.1 200 OK", "closed"},
		differs: "the reference leaves a part in a buffer",
	},
	{
		name: "and so is a chunked one", send: get + "\r\n", hangUp: true,
		answer: "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n5\r\nab",
		gets:   []string{"HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "closed"},
	},
	{
		name: "no answer at all", send: get + "\r\n", hangUp: true, answer: "",
		gets:    []string{"HTTP/1.1 502 Bad Gateway", "open"},
		differs: ownAnswer,
	},
	{
		name: "no HTTP", send: get + "\r\n", hangUp: true, answer: "SSH-2.0-OpenSSH\r\n",
		gets:    []string{"HTTP/1.1 502 Bad Gateway", "open"},
		differs: ownAnswer,
	},
}
