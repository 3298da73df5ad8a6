//go:build !race

package upstream_test

import (
	"io"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/upstream"
)

// TestSmallExchangeAllocatesLittle counts one for the exchange and two for the header,
// which says what that of the answer before did. The context of what is over so soon is
// not watched.
func TestSmallExchangeAllocatesLittle(t *testing.T) {
	is := is.New(t)
	p := upstream.New(upstream.Options{Dial: dialCanned})
	defer p.Close()
	r, cancel := smallRequest(t)
	defer cancel()
	header := smallHeader()
	n := testing.AllocsPerRun(1000, func() {
		resp, err := p.Exchange(r, "/", field.ViewOf(header), nil)
		if err != nil {
			panic(err)
		}
		resp.Body.(io.WriterTo).WriteTo(io.Discard)
		resp.Body.Close()
	})
	is.True(n <= 3) // objects per exchange
}
