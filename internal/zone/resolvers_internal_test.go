package zone

import (
	"testing"

	"github.com/matryer/is"
)

func TestResolversAreTheNameserversOfTheSystem(t *testing.T) {
	is := is.New(t)
	is.Equal(resolversIn(`# of this network
domain example.com
search example.com nameserver
nameserver
	nameserver 192.0.2.53 # the first
nameserver fe80::1%eth0
;nameserver 192.0.2.54
options ndots:2`), []string{"192.0.2.53:53", "[fe80::1%eth0]:53"})
	is.Equal(len(resolversIn("")), 0)
}
