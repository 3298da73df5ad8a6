// Package verbose formats errors that tell more with %+v.
package verbose

import (
	"fmt"
	"io"
)

// Format formats err as its Error method does, and as full for %+v. It is for
// err's method Format.
func Format(s fmt.State, verb rune, err error, full string) {
	if verb == 'v' && s.Flag('+') {
		io.WriteString(s, full)
		return
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), err.Error())
}
