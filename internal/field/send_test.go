package field_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
)

func TestFieldsThatFrameTheMessageOrNameItsHostCannotBeSent(t *testing.T) {
	is := is.New(t)
	is.True(field.CanSend("X-Probe", "yes\tno"))
	is.True(field.CanSend("CF-Connecting-IP", ""))
	for _, name := range []string{"Host", "host", "Connection", "Content-Length", "transfer-encoding", "", "X Probe", "X:", "Ä"} {
		is.True(!field.CanSend(name, "x"))
	}
	is.True(!field.CanSend("X-Probe", "a\r\nHost: b"))
	is.True(!field.CanSend("X-Probe", "\x7f"))
}
