package main_test

import (
	"fmt"
	"strings"
)

const (
	post = "POST / HTTP/1.1\r\nHost: app.test\r\n"
	get1 = "GET / HTTP/1.1\r\nHost: app.test\r\n"
)

// arrivedPost is what a POST with that body is to the target.
func arrivedPost(body string) []string { return []string{fmt.Sprintf("POST / app.test %q", body)} }

// refuse returns framings that are answered with status alone.
func refuse(status int, kind string, sends ...string) (all []framing) {
	for i, send := range sends {
		all = append(all, framing{name: fmt.Sprintf("%s/%d", kind, i), send: send, status: []int{status}})
	}
	return all
}

// accept returns framings that are a POST with the body abc, and leave the
// connection open.
func accept(kind string, sends ...string) (all []framing) {
	for i, send := range sends {
		all = append(all, framing{name: fmt.Sprintf("%s/%d", kind, i), send: send, status: []int{200}, arrives: arrivedPost("abc"), open: true})
	}
	return all
}

// each returns send with each of the values in place of %s.
func each(send string, values ...string) (all []string) {
	for _, value := range values {
		all = append(all, strings.Replace(send, "%s", value, 1))
	}
	return all
}

func ambiguousLengths() (all []framing) {
	all = append(all, refuse(400, "length beside coding",
		post+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		post+"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		post+"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		post+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		post+"content-length: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n",
		get1+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nHost: app.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
	)...)
	all = append(all, refuse(400, "two lengths",
		post+"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		post+"Content-Length: 4\r\nContent-Length: 3\r\n\r\nabcd",
		post+"Content-Length: 3\r\nX: y\r\ncontent-length: 0\r\n\r\nabc",
		post+"Content-Length: 3, 3\r\n\r\nabc",
		post+"Content-Length: 3, 4\r\n\r\nabcd",
		post+"Content-Length: 3,\r\n\r\nabc",
	)...)
	all = append(all, refuse(either, "the same length twice", post+"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc")...)
	all = append(all, refuse(400, "no length", each(post+"Content-Length: %s\r\n\r\nabc",
		"", "+3", "-1", "-0", "0x3", "3x", "3;q=1", "3 4", "3.0", "1e1", "\"3\"", "3_0", "\u0663", "\v3",
		"18446744073709551619", "9223372036854775808", "99999999999999999999",
	)...)...)
	all = append(all, accept("length with space around it", each(post+"Content-Length:%s\r\n\r\nabc", "3", " 3", "\t3", "  3 \t", " 003")...)...)
	all = append(all, framing{name: "underscore in Content-Length", send: post + "Content_Length: 3\r\n\r\nabc\r\n\r\n", status: []int{200, 400}, arrives: arrivedPost("")})
	return append(all, framing{name: "no length and a body", send: post + "\r\nabc\r\n\r\n", status: []int{200, 400}, arrives: arrivedPost("")})
}

func ambiguousCodings() (all []framing) {
	const body = "\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	all = append(all, refuse(501, "unknown coding", each(post+"Transfer-Encoding: %s"+body,
		"xchunked", "gzip", "gzip, chunked", "identity", "chunked-x", "cow",
	)...)...)
	all = append(all, refuse(400, "chunked that is not once and last", each(post+"Transfer-Encoding: %s"+body,
		"chunked, chunked", "chunked,chunked", "chunked, identity", "chunked , gzip", "gzip, chunked, chunked", "chunked,", ",chunked", ",", "",
	)...)...)
	all = append(all, refuse(refused, "coding", each(post+"Transfer-Encoding: %s"+body,
		"chunked;q=1", "\"chunked\"", "'chunked'",
		"chunked chunked", "\vchunked", "\fchunked", "\x00chunked", "chunked\x00", "chunked\x7f", "chunk\x80ed", "\u00a0chunked", "chunKed\u212a",
	)...)...)
	all = append(all, refuse(400, "coding field",
		post+"Transfer-Encoding : chunked"+body,
		post+" Transfer-Encoding: chunked"+body,
		post+"X: y\r\n Transfer-Encoding: chunked"+body,
		post+"Transfer-Encoding:\r\n chunked"+body,
		post+"Transfer-Encoding: chunked\r\n ,gzip"+body,
		post+"Transfer-Encoding: gzip\nTransfer-Encoding: chunked"+body,
		post+"X: y\rTransfer-Encoding: chunked"+body,
		post+"Transfer-Encoding\x00: chunked"+body,
		post+"\x00Transfer-Encoding: chunked"+body,
		post+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"+body,
	)...)
	all = append(all, refuse(refused, "two coding fields",
		post+"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"+body,
		post+"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"+body,
		post+"Transfer-Encoding: chunked\r\nTransfer-encoding: x"+body,
	)...)
	all = append(all, accept("coding in other spellings",
		post+"Transfer-Encoding: chunked"+body,
		post+"transfer-encoding:chunked"+body,
		post+"TRANSFER-ENCODING: \tCHUNKED \t"+body,
		post+"Transfer-Encoding: Chunked"+body,
	)...)
	return append(all, framing{name: "underscore in Transfer-Encoding", send: post + "Transfer_Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", status: []int{200, 400}, arrives: arrivedPost("")})
}

func ambiguousChunks() (all []framing) {
	const chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
	all = append(all, refuse(400, "chunk size", each(chunked+"%s\r\nabc\r\n0\r\n\r\n",
		"", " ", "x", "3x", "0x3", "+3", "-3", " 3", "\t3", "3,", "3 3", "g", "\x003", "3\x00", "ffffffffffffffff1", "10000000000000003", "7fffffffffffffff3", "3\v",
	)...)...)
	all = append(all, refuse(400, "line end in chunks",
		chunked+"3\nabc\r\n0\r\n\r\n",
		chunked+"3\rabc\r\n0\r\n\r\n",
		chunked+"3\r\r\nabc\r\n0\r\n\r\n",
		chunked+"3\r\nabc\n0\r\n\r\n",
		chunked+"3\r\nabc\r0\r\n\r\n",
		chunked+"3\r\nabc0\r\n\r\n",
		chunked+"3\r\nabcd\r\n0\r\n\r\n",
		chunked+"3\r\nabc\r\n0\n\r\n",
		chunked+"3\r\nabc\r\n0\r\n\n",
		chunked+"3\r\nabc\r\n\r\n0\r\n\r\n",
	)...)
	all = append(all, refuse(400, "chunk extension",
		chunked+"3;a\nb\r\nabc\r\n0\r\n\r\n",
		chunked+"3;a=\x00\r\nabc\r\n0\r\n\r\n",
		chunked+"3;a=\r5\r\nabc\r\n0\r\n\r\n",
		chunked+"3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
		chunked+"3;"+strings.Repeat("a", 20<<10)+"\r\nabc\r\n0\r\n\r\n",
		chunked+strings.Repeat("0", 20<<10)+"3\r\nabc\r\n0\r\n\r\n",
		chunked+strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 200)+"0\r\n\r\n",
	)...)
	all = append(all, refuse(400, "trailer",
		chunked+"3\r\nabc\r\n0\r\nX y: 1\r\n\r\n",
		chunked+"3\r\nabc\r\n0\r\nX : 1\r\n\r\n",
		chunked+"3\r\nabc\r\n0\r\n: 1\r\n\r\n",
		chunked+"3\r\nabc\r\n0\r\nX\r\n\r\n",
		chunked+"3\r\nabc\r\n0\r\nX: 1\n\r\n",
		chunked+"3\r\nabc\r\n0\r\nX: 1\r\n y\r\n\r\n",
		chunked+"3\r\nabc\r\n0\r\nX: a\x00b\r\n\r\n",
		chunked+"3\r\nabc\r\n0\r\nX: a\rb\r\n\r\n",
	)...)
	all = append(all, accept("chunk size and extension",
		chunked+"3;a=b\r\nabc\r\n0\r\n\r\n",
		chunked+"3 ;a=b\r\nabc\r\n0\r\n\r\n",
		chunked+"3\t; a=\"b\"\r\nabc\r\n0;c\r\n\r\n",
		chunked+"0000000000000000003\r\nabc\r\n00000000000000000000\r\n\r\n",
		chunked+"1\r\na\r\n2\r\nbc\r\n000\r\n\r\n",
		chunked+"3\r\nabc\r\n0\r\nX: 1\r\n\r\n",
		chunked+"3\r\nabc\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: evil.test\r\nAuthorization: x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
		post+"Trailer: X, Authorization, X-Forwarded-Proto, Cookie\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\nauthorization: x\r\nX_Forwarded_Proto: https\r\nCookie: a=b\r\nContent_Length: 5\r\n\r\n",
	)...)
	all = append(all, framing{name: "hexadecimal chunk size", send: chunked + "A\r\n0123456789\r\nb\r\n0123456789x\r\n0\r\n\r\n", status: []int{200}, arrives: arrivedPost("01234567890123456789x"), open: true})
	return append(all, refuse(either, "space behind a chunk size", chunked+"3 \r\nabc\r\n0\r\n\r\n")...)
}

func ambiguousLines() (all []framing) {
	all = append(all, refuse(400, "line end",
		"GET / HTTP/1.1\nHost: app.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: app.test\n\r\n",
		"GET / HTTP/1.1\r\nHost: app.test\r\n\n",
		"GET / HTTP/1.1\nHost: app.test\n\n",
		"GET / HTTP/1.1\r\nHost: app.test\r\r\n\r\n",
		"GET / HTTP/1.1\rHost: app.test\r\n\r\n",
		get1+"X: a\nContent-Length: 3\r\n\r\nabc",
		get1+"X: a\rContent-Length: 3\r\n\r\nabc",
		get1+"X: a\r\n\rContent-Length: 3\r\n\r\nabc",
	)...)
	all = append(all, refuse(400, "field line", each(get1+"%s\r\n\r\n",
		": y", "X", "X y", "X : y", "X\t: y", " X: y", "\tX: y", "X: y\r\n z", "X: y\r\n\tz", "X: y\r\n ", "X y: z", "(X): y", "X,Y: z", "X;: y", "\"X\": y", "X\x00: y", "X\x7f: y", "\u00dc: y", "X: a\x00b",
		"X: a\x01b", "X: a\x7fb", "X: a\x1bb", "X: \x00", "X/: y", "X@: y", "{X}: y",
	)...)...)
	all = append(all, framing{name: "value with bytes above 0x7f", send: get1 + "X: \u00fc\x80\xff\r\n\r\n", status: []int{200}, arrives: []string{`GET / app.test ""`}, open: true},
		framing{name: "field without a value", send: get1 + "X:\r\nY: \t\r\n\r\n", status: []int{200}, arrives: []string{`GET / app.test ""`}, open: true})
	all = append(all, refuse(431, "head that is too large",
		get1+strings.Repeat("X: y\r\n", 200)+"\r\n",
		get1+strings.Repeat("X: y\r\n", 5000)+"\r\n",
		get1+"X: "+strings.Repeat("y", 100<<10)+"\r\n\r\n",
		get1+strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100)+"\r\n",
		get1+strings.Repeat("x", 100<<10)+": y\r\n\r\n",
	)...)
	return all
}

func ambiguousRequestLines() (all []framing) {
	all = append(all, refuse(400, "request line", each("%s\r\nHost: app.test\r\n\r\n",
		"GET /", "GET", "GET / ", "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET\t/\tHTTP/1.1", "GET /\x00 HTTP/1.1", "GET\x00 / HTTP/1.1", "GET / HTTP/1.1\x00",
		"GET / http/1.1", "GET / HTTP/1", "GET / HTTP/01.1", "GET / HTTP/1.01", "GET / HTTP/1.10", "GET / HTTP/1,1", "GET / HTTP/+1.1", "GET / HTTP/ 1.1", "GET / HTTP / 1.1", "GET / XTTP/1.1", "GET / HTTP/x.y",
		"G(T / HTTP/1.1", "G\"T / HTTP/1.1", "GET: / HTTP/1.1", "\u00dc / HTTP/1.1", " / HTTP/1.1", "GET / a HTTP/1.1",
	)...)...)
	all = append(all, refuse(505, "version", each("GET / HTTP/%s\r\nHost: app.test\r\n\r\n", "0.9", "2.0", "3.0", "9.9")...)...)
	all = append(all, refuse(400, "nothing but a request line", "GET /\r\n", "\r\nGET /x\r\n", "GET / HTTP/1.1\rHost: app.test\r\r")...)
	all = append(all, refuse(400, "HEAD", "HEAD /\r\n", "HEAD / HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\n\r\n", "HEAD /x/.. HTTP/1.1\r\nHost: app.test\r\n\r\n")...)
	all = append(all, refuse(either, "minor version", "GET / HTTP/1.2\r\nHost: app.test\r\n\r\n")...)
	all = append(all, framing{name: "method/CONNECT", send: "CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n", status: []int{405}, open: true},
		framing{name: "method/TRACE", send: "TRACE / HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{405}, open: true})
	all = append(all, framing{name: "method/lower case", send: "get / HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{200}, arrives: []string{`get / app.test ""`}, open: true},
		framing{name: "method/of others", send: "PROPFIND / HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{200}, arrives: []string{`PROPFIND / app.test ""`}, open: true})
	all = append(all, framing{name: "leading empty line", send: "\r\n" + get1 + "\r\n", status: []int{200}, arrives: []string{`GET / app.test ""`}, open: true})
	return append(all, refuse(400, "leading line",
		"\n"+get1+"\r\n",
		"\r\n\r\n"+get1+"\r\n",
		" \r\n"+get1+"\r\n",
		"\r"+get1+"\r\n",
	)...)
}

func ambiguousTargets() (all []framing) {
	all = append(all, refuse(400, "request target", each("GET %s HTTP/1.1\r\nHost: app.test\r\n\r\n",
		"admin", "x:http://other.test/admin", "http:.evil.test/", "http:/evil.test/", "http:evil.test", "*", "?q", "#", "/a#b", "/#", "http:///x", "http://", "http://user@app.test/", "http://app.test:x/", "http://app.test:99999/", "http://[::1/",
		"/api/../p", "/./x", "/%2e%2e/x", "/%2E./x", "/x/..", "/a\x7f", "/a\x01", "app.test:80", "\\", "javascript:x",
	)...)...)
	all = append(all, refuse(414, "request target that is too long", each("GET /%s HTTP/1.1\r\nHost: app.test\r\n\r\n", strings.Repeat("x", 9<<10), strings.Repeat("x", 100<<10))...)...)
	all = append(all, refuse(either, "odd path", each("GET %s HTTP/1.1\r\nHost: app.test\r\n\r\n", "/a%zz", "/a\\b", "/{}", "/\xff", "/%00", "/a|b", "/\"", "/<x>", "//", "///x", "//evil.test/", "/x//../y", "ftp://app.test/", "https://app.test/x")...)...)
	for _, target := range []string{"/;x", "/x;params=1", "/?q=%zz", "/?a=b;c={}\\\"'", "/a%2fb", "/a%20b", "/??", "//x", "/?http://evil.test/", "/?" + strings.Repeat("x", 7<<10)} {
		all = append(all, framing{name: "target/" + target[:min(len(target), 20)], send: "GET " + target + " HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{200}, arrives: []string{"GET " + target + ` app.test ""`}, open: true})
	}
	return append(all,
		framing{name: "absolute target", send: "GET http://app.test/x?y HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{200}, arrives: []string{`GET /x?y app.test ""`}, open: true},
		framing{name: "absolute target without a path", send: "GET http://app.test HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{200}, arrives: []string{`GET / app.test ""`}, open: true},
		framing{name: "absolute target with another authority", send: "GET http://app.test/x HTTP/1.1\r\nHost: evil.test\r\n\r\n", status: []int{200}, arrives: []string{`GET /x app.test ""`}, open: true},
		framing{name: "absolute target of another service", send: "GET http://evil.test/x HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{404}, open: true},
		framing{name: "options of the server", send: "OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{200}, open: true},
	)
}

func ambiguousHosts() (all []framing) {
	all = append(all, refuse(400, "host", each("GET / HTTP/1.1\r\n%s\r\n\r\n",
		"X: y", "Host: app.test\r\nHost: app.test", "Host: app.test\r\nHost: evil.test", "Host: evil.test\r\nX: y\r\nhost: app.test", "Host : app.test", "Host: app.test\r\n evil.test", "Host: app.test, evil.test", "Host: app.test evil.test",
		"Host: user@app.test", "Host: app.test/x", "Host: app.test?x", "Host: app.test#x", "Host: app.test\\x", "Host: app.test:x", "Host: app.test:99999", "Host: app.test:80:80", "Host: app.test:+80", "Host: app.test:-1",
		"Host: ::1", "Host: [::1", "Host: ::1]", "Host: [::1]x", "Host: app.test\x00", "Host: http://app.test", "Host: <app.test>", "Host: \"app.test\"", "Host: [app.test]",
	)...)...)
	all = append(all, refuse(either, "odd host", each("GET / HTTP/1.1\r\nHost: %s\r\n\r\n", "", "app.test:", "app.test..", ".app.test", "app_test", "%61pp.test", "app.test%00", "app.test:080", "[::1]", "[::1]:80", "[::ffff:127.0.0.1]", "127.1", "xn--", "\u00fc.test")...)...)
	for _, host := range []string{"APP.TEST", "app.test.", "app.test:8080", "App.Test:80"} {
		all = append(all, framing{name: "host/" + host, send: "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n", status: []int{200}, arrives: []string{"GET / " + host + ` ""`}, open: true})
	}
	return append(all,
		framing{name: "host/none in HTTP/1.0", send: "GET / HTTP/1.0\r\n\r\n", status: []int{404}},
		framing{name: "host/HTTP/1.0", send: "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n", status: []int{200}, arrives: []string{`GET / app.test ""`}},
		framing{name: "host/underscore in the name", send: "GET / HTTP/1.1\r\nHost: app.test\r\nX_Host: a\r\nX-Forwarded-Host: evil.test\r\n\r\n", status: []int{200}, arrives: []string{`GET / app.test ""`}, open: true},
	)
}

func ambiguousSequences() []framing {
	const next = "GET /2 HTTP/1.1\r\nHost: app.test\r\n\r\n"
	second := `GET /2 app.test ""`
	return []framing{
		{name: "pipeline/GET", send: get1 + "\r\n" + next, status: []int{200, 200}, arrives: []string{`GET / app.test ""`, second}, open: true},
		{name: "pipeline/counted", send: post + "Content-Length: 3\r\n\r\nabc" + next, status: []int{200, 200}, arrives: append(arrivedPost("abc"), second), open: true},
		{name: "pipeline/chunked", send: post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + next, status: []int{200, 200}, arrives: append(arrivedPost("abc"), second), open: true},
		{name: "pipeline/empty line between", send: post + "Content-Length: 3\r\n\r\nabc\r\n" + next, status: []int{200, 200}, arrives: append(arrivedPost("abc"), second), open: true},
		{name: "pipeline/behind what is refused", send: post + "Content-Length: x\r\n\r\n" + next, status: []int{400}},
		{name: "pipeline/behind two lengths", send: post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next, status: []int{400}},
		{name: "pipeline/behind close", send: get1 + "Connection: close\r\n\r\n" + next, status: []int{200}, arrives: []string{`GET / app.test ""`}},
		{name: "pipeline/behind HTTP/1.0", send: "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n" + next, status: []int{200}, arrives: []string{`GET / app.test ""`}},
		{name: "pipeline/HTTP/1.0 that goes on", send: "GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n", status: []int{200}, arrives: []string{`GET / app.test ""`}, open: true},
		{name: "pipeline/behind an upgrade", send: get1 + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + next, status: []int{200, 200}, arrives: []string{`GET / app.test ""`, second}, open: true},
		{name: "pipeline/behind an upgrade to h2c", send: get1 + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n" + next, status: []int{200, 200}, arrives: []string{`GET / app.test ""`, second}, open: true},
		{name: "body/GET", send: get1 + "Content-Length: 3\r\n\r\nabc", status: []int{200}, arrives: []string{`GET / app.test "abc"`}, open: true},
		{name: "body/DELETE", send: "DELETE / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", status: []int{200}, arrives: []string{`DELETE / app.test "abc"`}, open: true},
		{name: "body/HEAD", send: "HEAD / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc", status: []int{200}, arrives: []string{`HEAD / app.test "abc"`}, open: true},
		{name: "body/OPTIONS", send: "OPTIONS / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc", status: []int{200}, arrives: []string{`OPTIONS / app.test "abc"`}, open: true},
		{name: "expectation/100-continue", send: post + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", status: []int{200}, arrives: arrivedPost("abc"), open: true},
		{name: "expectation/100-Continue", send: post + "Expect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc", status: []int{200}, arrives: arrivedPost("abc"), open: true},
		{name: "expectation/unknown", send: post + "Expect: nonsense\r\nContent-Length: 3\r\n\r\nabc", status: []int{417}},
		{name: "options/named by Connection", send: get1 + "Connection: close, X-Forwarded-For, Host, Content-Length\r\n\r\n", status: []int{200}, arrives: []string{`GET / app.test ""`}},
		{name: "options/length named by Connection", send: post + "Connection: Content-Length, Transfer-Encoding\r\nContent-Length: 3\r\n\r\nabc", status: []int{200}, arrives: arrivedPost("abc"), open: true},
		{name: "end/in the request line", send: "GET / HT", ends: true},
		{name: "end/in the head", send: get1 + "X: y\r\n", ends: true},
		{name: "end/in a counted body", send: post + "Content-Length: 9\r\n\r\nabc", ends: true},
		{name: "end/in a chunk", send: post + "Transfer-Encoding: chunked\r\n\r\n9\r\nabc", ends: true},
		{name: "end/between chunks", send: post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ends: true},
		{name: "end/in the trailer", send: post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n", ends: true},
		{name: "end/behind a request", send: get1 + "\r\n", status: []int{200}, arrives: []string{`GET / app.test ""`}, ends: true},
		{name: "end/behind two requests", send: get1 + "\r\n" + next, status: []int{200, 200}, arrives: []string{`GET / app.test ""`, second}, ends: true},
	}
}
