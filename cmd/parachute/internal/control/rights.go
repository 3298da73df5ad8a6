package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// ErrForbidden says that a user who may connect may only read.
var ErrForbidden = errors.New("forbidden")

// deployers are the users who may make changes, besides root and the user of this
// process.
type deployers []int

// deployersOf returns the users with these numbers or names.
func deployersOf(users []string) (deployers, error) {
	var all deployers
	for _, name := range users {
		uid, err := userID(name)
		if err != nil {
			return nil, err
		}
		all = append(all, uid)
	}
	if all != nil && !knowsPeers {
		return nil, errors.New("this system does not tell who connects, so the proxy cannot tell who may make changes: leave --socket-deployers out")
	}
	return all, nil
}

// userID returns the number of a user, by number or name.
func userID(name string) (int, error) {
	if uid, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(uid), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("--socket-deployers %s: %w", name, err)
	}
	return strconv.Atoi(u.Uid)
}

// include reports whether a user may make changes.
func (d deployers) include(uid int) bool { return isTrusted(uid) || slices.Contains(d, uid) }

// list says in words who may make changes.
func (d deployers) list() string {
	may := []string{"root"}
	for _, other := range append(deployers{os.Geteuid()}, d...) {
		if name := userName(other); !slices.Contains(may, name) {
			may = append(may, name)
		}
	}
	return strings.Join(may, ", ")
}

// userName returns how a user is called in a message.
func userName(uid int) string {
	if uid == 0 {
		return "root"
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return fmt.Sprintf("user %d", uid)
	}
	return fmt.Sprintf("user %d (%s)", uid, u.Username)
}

// A guestConn is a connection of somebody who may make no changes.
type guestConn struct {
	*net.UnixConn
	guest
}

// A guest may make no changes.
type guest struct {
	uid     int
	mayRead bool      // what is no secret
	others  deployers // who may make changes
}

// refusal returns the error for what the guest may not do.
func (g *guest) refusal() error {
	what := "may do nothing here"
	if g.mayRead {
		what = "may neither make changes nor see the log"
	}
	return &textError{fmt.Sprintf("%s %s: that is for %s", userName(g.uid), what, g.others.list()), ErrForbidden}
}

type guestKey struct{}

// withGuest is the ConnContext of an http.Server that serves what Listen returns.
func withGuest(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*guestConn); ok {
		return context.WithValue(ctx, guestKey{}, &c.guest)
	}
	return ctx
}

// guestOf returns who sent a request with that context, or nil if he may do everything.
func guestOf(ctx context.Context) *guest {
	g, _ := ctx.Value(guestKey{}).(*guest)
	return g
}
