package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/shahnk19/parachute"
)

type certificatesCommand struct {
	JSON bool `name:"json" negatable:"" help:"Print everything about them as JSON."`
	fleetFlag
	remoteFlags
}

// Help explains the rows and columns.
func (certificatesCommand) Help() string {
	return `There is a row for each host that has TLS, even if its certificate has not come yet. The lines below the table say why the last attempt to get a certificate failed. The next attempt is made at the time in the column RENEWS.`
}

func (certificatesCommand) Examples() string {
	return `
# Show when the certificates expire, and why others are missing.
parachute certificates`
}

func (c *certificatesCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	if c.Fleet {
		return c.runFleet(ctx, p, client)
	}
	certificates, err := client.Certificates(ctx)
	if err != nil {
		return &remoteError{fmt.Errorf("certificates: %w", err)}
	}
	if c.JSON {
		return p.printJSON(certificates)
	}
	if len(certificates) == 0 {
		fmt.Fprintln(p.stderr, noTLS)
	} else if err := p.certificateTable(certificates); err != nil {
		return err
	}
	version, err := client.Version(ctx)
	if err == nil && version.UnknownNames > 0 {
		fmt.Fprintf(p.stdout, "%s refused, to hosts that have no certificate\n", pluralize(int64(version.UnknownNames), "TLS handshake"))
	}
	return nil
}

// noTLS is printed if there are no certificates.
const noTLS = "no service has TLS yet: see parachute help deploy"

// certificateTable prints a row for each certificate, and below the rows the
// errors of those that could not be obtained.
func (p *program) certificateTable(certificates []parachute.Certificate) error {
	all := textTable{header: []string{"HOST", "ISSUER", "SOURCE", "EXPIRES", "RENEWS"}}
	for _, c := range certificates {
		all.rows = append(all.rows, append([]cell{unbreakable(c.Host)}, certificateRow(c)...))
		all.notes = append(all.notes, nonEmpty([]string{c.Error}))
	}
	_, err := io.WriteString(p.stdout, all.text(p.displayOf(p.stdout).columns))
	return err
}

// certificateRow returns what certificates shows of one, behind its host.
func certificateRow(c parachute.Certificate) []cell {
	return []cell{breakable(cmp.Or(c.Issuer, "-")), unbreakable(string(c.Source)), breakable(formatTime(c.Expires)), breakable(formatTime(c.Renews))}
}

// formatTime returns a time to the minute, or "-" for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}
