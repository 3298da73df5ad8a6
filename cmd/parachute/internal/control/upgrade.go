package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// ErrHandedOver says that another process has taken the place of the one that was
// asked. Whoever gets it asks again.
var ErrHandedOver = errors.New("asked again after the upgrade")

// Handover is what a Server needs to have the process replaced. The zero value cannot.
type Handover struct {
	// Upgrade starts the program at a path, or the one that runs if it is empty, and
	// returns when it has taken the place of this process. With wait, it waits for
	// what keeps it from beginning at once.
	Upgrade func(ctx context.Context, path string, wait bool) (Upgraded, error)

	// TakeOver reports whether the process with that pid, 0 if it cannot be seen from
	// here, may take the place of this one, and returns a func which has it do so over a
	// connection with it.
	TakeOver func(pid int) (begin func(*net.UnixConn), err error)
}

// Upgraded is the result of an upgrade.
type Upgraded struct {
	Version  string       `json:"version"` // of the process that serves now
	PID      int          `json:"pid"`     // its own
	Previous Version      `json:"previous"`
	Took     wireDuration `json:"took"` // from the start of the program until it served

	// Requests are those that the previous process still has, streams among them. It
	// lets them end.
	Requests int64 `json:"requests"`
}

// NewUpgraded returns the result of an upgrade that took d.
func NewUpgraded(version string, pid int, previousVersion string, d time.Duration) Upgraded {
	return Upgraded{
		Version: version, PID: pid, Took: wireDuration(d),
		Previous: Version{Version: previousVersion, PID: os.Getpid()},
	}
}

// Duration returns how long it took.
func (u Upgraded) Duration() time.Duration { return time.Duration(u.Took) }

// upgradeRequest is the body of a request for an upgrade.
type upgradeRequest struct {
	Path string `json:"path,omitempty"`
	Wait bool   `json:"wait,omitempty"`
}

const upgradeWanted = `nothing, or what to start in JSON, such as {"path":"/usr/local/bin/parachute"}`

// handoverProtocol is what a connection is used for when it was taken over.
const handoverProtocol = "parachute-handover"

// A person is who is at the other end of a connection.
type person struct {
	pid, uid int
	known    bool
}

type personKey struct{}

// withPerson is a ConnContext that tells ownerOnly who has connected.
func withPerson(ctx context.Context, c net.Conn) context.Context {
	ctx = withGuest(ctx, c)
	switch c := c.(type) {
	case *net.UnixConn:
		pid, uid, ok := peer(c)
		return context.WithValue(ctx, personKey{}, person{pid, uid, ok})
	case *guestConn:
		return context.WithValue(ctx, personKey{}, person{uid: c.uid, known: true})
	}
	return ctx
}

// checkOwner returns an error unless the process behind a request is root's, or of the
// user of the proxy. Which program the proxy becomes is for nobody else to say, whatever
// the mode and the group of the socket, and whoever may deploy.
func checkOwner(ctx context.Context) (person, error) {
	who, _ := ctx.Value(personKey{}).(person)
	switch {
	case !who.known:
		return who, &textError{"this system does not tell who asks, so the proxy is not replaced: stop it, and start the other one", ErrForbidden}
	case !isTrusted(who.uid):
		return who, &textError{fmt.Sprintf("%s may not replace the proxy: that is for %s", userName(who.uid), deployers(nil).list()), ErrForbidden}
	}
	return who, nil
}

func (c *handlers) upgrade(w http.ResponseWriter, r *http.Request) {
	_, err := checkOwner(r.Context())
	var asked upgradeRequest
	if err == nil {
		asked, err = decodeOptionalBody[upgradeRequest](w, r, upgradeWanted)
	}
	if err == nil && c.server.Handover.Upgrade == nil {
		err = errors.New("this proxy cannot be replaced")
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: upgrade: %w", err))
		return
	}
	done, err := c.server.Handover.Upgrade(r.Context(), asked.Path, asked.Wait)
	if err != nil {
		writeError(w, fmt.Errorf("parachute: upgrade: %w", err))
		return
	}
	writeJSON(w, http.StatusOK, done)
}

// takeOver has the process that asks take the place of this one: it answers 101, and the
// connection is for the handover from then on.
func (c *handlers) takeOver(w http.ResponseWriter, r *http.Request) {
	who, err := checkOwner(r.Context())
	if err == nil && c.server.Handover.TakeOver == nil {
		err = errors.New("this proxy cannot be replaced")
	}
	if err == nil && !strings.EqualFold(r.Header.Get("Upgrade"), handoverProtocol) {
		err = invalid(nil, "want Upgrade: %s", handoverProtocol)
	}
	var begin func(*net.UnixConn)
	if err == nil {
		begin, err = c.server.Handover.TakeOver(who.pid)
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: take over: %w", err))
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		writeError(w, fmt.Errorf("parachute: take over: %w", err))
		return
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return
	}
	_ = unix.SetDeadline(time.Time{})
	if _, err := io.WriteString(unix, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+handoverProtocol+"\r\n\r\n"); err != nil {
		unix.Close()
		return
	}
	begin(unix)
}

// Upgrade has the proxy start the program at path, or the one that it runs, and returns
// when that has taken its place. With wait, it waits for what keeps it from beginning.
func (c *Client) Upgrade(ctx context.Context, path string, wait bool) (Upgraded, error) {
	body, err := json.Marshal(upgradeRequest{path, wait})
	if err != nil {
		return Upgraded{}, err
	}
	for {
		done, err := c.upgradeOnce(ctx, body)
		if !errors.Is(err, ErrHandedOver) || ctx.Err() != nil {
			return done, err
		}
	}
}

func (c *Client) upgradeOnce(ctx context.Context, body []byte) (done Upgraded, err error) {
	conn, err := c.dialFirst(ctx)
	if err != nil {
		return done, fmt.Errorf("parachute: upgrade: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.cancelRequest)
	defer stop()
	resp, err := conn.send(http.MethodPost, "/v1/upgrade", body)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return done, conn.readError(resp)
		}
		err = json.NewDecoder(resp.Body).Decode(&done)
	}
	switch {
	case err == nil:
		return done, nil
	case ctx.Err() != nil:
		return done, fmt.Errorf("parachute: upgrade: %w", context.Cause(ctx))
	}
	return done, fmt.Errorf("parachute: upgrade: the connection to the proxy was lost (%w) before it said how this ended: see parachute version, and its log", err)
}

// TakeOver connects to the proxy in order to take its place. It returns ErrNoProxy if
// there is none.
func (c *Client) TakeOver(ctx context.Context) (*net.UnixConn, error) {
	conn, err := c.dialFirst(ctx)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(queryTimeout))
	req, err := http.NewRequest(http.MethodPost, "http://parachute/v1/handover", nil)
	if err == nil {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", handoverProtocol)
		err = req.Write(conn)
	}
	var resp *http.Response
	if err == nil {
		// Behind the head comes nothing before the other side was asked.
		resp, err = http.ReadResponse(bufio.NewReader(conn), req)
	}
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = conn.readError(resp)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return conn.UnixConn, nil
}
