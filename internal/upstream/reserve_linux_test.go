package upstream_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/upstream"
)

func TestOnlyWhatIsVitalTakesDescriptorsOfTheReserve(t *testing.T) {
	is := is.New(t)
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer app.Close()
	var was syscall.Rlimit
	is.NoErr(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	defer func() { is.NoErr(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) }()
	is.NoErr(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 128, Max: was.Max}))
	get := func(vital bool) error {
		p := upstream.New(upstream.Options{Network: "tcp", Address: app.Listener.Addr().String(), Vital: vital})
		defer p.Close()
		resp, err := p.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	is.NoErr(get(false))

	var taken []*os.File
	defer func() {
		for _, f := range taken {
			f.Close()
		}
	}()
	for len(taken) == 0 || taken[len(taken)-1].Fd() < 103 { // 24 of the 128 are in reserve
		f, err := os.Open(os.DevNull)
		is.NoErr(err)
		taken = append(taken, f)
	}
	why, _ := reason(get(false))
	is.Equal(why, upstream.Shortage)
	is.NoErr(get(true))
	conn, err := net.Dial("tcp", app.Listener.Addr().String())
	is.NoErr(err)
	raw, err := conn.(*net.TCPConn).SyscallConn()
	is.NoErr(err)
	is.NoErr(raw.Control(func(fd uintptr) { is.True(fd < 110) })) // nothing was left open
	is.NoErr(conn.Close())
}
