package forward_test

// upgrades are rows of the table for requests that ask for another protocol.
var upgrades = []row{
	{
		name: "an upgrade", send: get + "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nearly", after: " late", ends: true,
		answer:  "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: y\r\n\r\nhello",
		arrives: []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-Websocket-Key: x", `broken head: "early late"`},
		gets:    []string{"HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: WebSocket", "Sec-Websocket-Accept: y", `broken head: "hello"`, "closed"},
		differs: "the reference keeps the answer's spelling of Connection",
	},
	{
		name: "a refused upgrade", send: get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + get + "X-Second: 2\r\n\r\n", answer: ok,
		arrives: []string{"Upgrade: websocket", "X-Second: 2"}, gets: []string{"HTTP/1.1 200 OK", "open"},
	},
	{
		name: "another version of HTTP is not tunnelled",
		send: get + "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", answer: ok,
		arrives: []string{"GET / HTTP/1.1", "!Connection: Upgrade", "!Upgrade: h2c", "!Http2-Settings: AAMAAABk"}, gets: []string{"HTTP/1.1 200 OK", "open"},
		differs: "the reference tunnels it",
	},
	{
		name:    "of several protocols the others go on",
		send:    get + "Connection: Upgrade\r\nUpgrade: h2c, HTTP/2.0, a b, TLS/1.3, foo/2, c/d/e, websocket\r\n\r\n",
		answer:  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo/2\r\n\r\n",
		arrives: []string{"Connection: Upgrade", "Upgrade: foo/2, websocket"},
		gets:    []string{"HTTP/1.1 101 Switching Protocols", "Upgrade: foo/2", "open"},
		differs: "the reference wants them back as one",
	},
	{
		name: "a switch to what was not asked for", send: get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		answer:  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
		gets:    []string{"HTTP/1.1 502 Bad Gateway", "!HTTP/1.1 101 Switching Protocols", "open"},
		differs: ownAnswer,
	},
	{
		name: "a switch without its connection option", send: get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		answer:  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
		gets:    []string{"HTTP/1.1 502 Bad Gateway", "!HTTP/1.1 101 Switching Protocols", "open"},
		differs: ownAnswer,
	},
	{
		name: "a switch that nobody asked for", send: get + "\r\n",
		answer:  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		gets:    []string{"HTTP/1.1 502 Bad Gateway", "!HTTP/1.1 101 Switching Protocols", "open"},
		differs: ownAnswer,
	},
	{
		name: "HTTP/1.0 cannot upgrade", send: "GET / HTTP/1.0\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", answer: ok,
		arrives: []string{"!Connection: Upgrade", "!Upgrade: websocket"}, gets: []string{"HTTP/1.0 200 OK"},
		differs: "the reference passes it on",
	},
	{
		name: "a protocol that is named twice", send: get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		answer:  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: WebSocket\r\n\r\nhello",
		gets:    []string{"HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", "!Upgrade: WebSocket", `broken head: "hello"`},
		differs: "the reference passes both on",
	},
	{
		name: "one that was asked for beside one that was not", send: get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		answer:  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
		gets:    []string{"HTTP/1.1 502 Bad Gateway", "!HTTP/1.1 101 Switching Protocols", "open"},
		differs: ownAnswer,
	},
	{
		name: "an upgrade with a counted body", send: post + "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 5\r\n\r\nhelloearly", after: " late", ends: true,
		until:   "hello",
		answer:  "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nstream",
		arrives: []string{"Connection: Upgrade", "Upgrade: tcp", "Content-Length: 5", `"hello" (5 of 5)`, `broken head: "early late"`},
		gets:    []string{"HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: tcp", "Content-Type: application/vnd.docker.raw-stream", `broken head: "stream"`, "closed"},
		differs: "the reference loses what the client has sent ahead, and may leave the end of the body to the tunnel",
	},
	{
		name: "a switch, and a body that never comes", send: post + "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 20000\r\n\r\nhello", ends: true,
		answer:  "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nstream",
		gets:    []string{"HTTP/1.1 502 Bad Gateway", "!HTTP/1.1 101 Switching Protocols", "closed"},
		differs: ownAnswer,
	},
	{
		name: "a refused upgrade with a body", send: post + "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 5\r\n\r\nhello" + post + "X-Second: 2\r\nContent-Length: 5\r\n\r\nhello",
		until: "hello", answer: ok,
		arrives: []string{"Upgrade: tcp", "X-Second: 2", `"hello" (5 of 5)`}, gets: []string{"HTTP/1.1 200 OK", "open"},
	},
	{
		name: "an upgrade with a body and its 100", send: post + "Connection: Upgrade\r\nUpgrade: tcp\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", after: "hello",
		until:   "hello",
		answer:  "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nstream",
		arrives: []string{"Expect: 100-continue", `"hello" (5 of 5)`},
		gets:    []string{"HTTP/1.1 100 Continue", "HTTP/1.1 101 Switching Protocols", `broken head: "stream"`},
		differs: asksByChance,
	},
}
