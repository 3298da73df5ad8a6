package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/cmd/parachute/internal/acmedns"
)

// dnsFlags say how TXT records are set, by which names are proven to the certificate
// authority.
type dnsFlags struct {
	ACMEChallenge   challenge  `name:"acme-challenge" envar:"both" group:"TLS:" placeholder:"any" help:"How names are proven to the certificate authority: any, which is by port 80 or 443, and by DNS for wildcards; or dns, for all, where the ports cannot be reached from the internet."`
	ACMEDNSCommand  string     `name:"acme-dns-command" envar:"prefixed" group:"TLS:" placeholder:"PATH" help:"Program that sets the TXT records for proofs by DNS, called as PATH present NAME VALUE, and PATH cleanup NAME VALUE. An absolute path; no shell is involved."`
	ACMEDNSServer   dnsServer  `name:"acme-dns-server" envar:"both" group:"TLS:" placeholder:"HOST:PORT" help:"Server that takes dynamic updates (RFC 2136) with the TXT records, in place of a program."`
	ACMEDNSKeyFile  string     `name:"acme-dns-key-file" envar:"prefixed" group:"TLS:" placeholder:"FILE" help:"Key that signs the updates (TSIG), as tsig-keygen writes it; if none is given, they are not signed."`
	ACMEDNSResolver dnsServers `name:"acme-dns-resolver" envar:"both" group:"TLS:" placeholder:"HOST:PORT,..." help:"DNS servers that are asked for the servers of a zone before the system's are. On those of the zone, the proxy looks for the record."`
}

// config returns what they ask for.
func (f dnsFlags) config() (acmedns.Config, error) {
	c := acmedns.Config{
		Command:   f.ACMEDNSCommand,
		Server:    string(f.ACMEDNSServer),
		Always:    f.ACMEChallenge == "dns",
		Resolvers: f.ACMEDNSResolver,
	}
	switch {
	case c.Command != "" && c.Server != "":
		return c, errors.New("--acme-dns-command and --acme-dns-server exclude each other: want one way to set TXT records")
	case f.ACMEDNSKeyFile != "" && c.Server == "":
		return c, errors.New("--acme-dns-key-file is there without --acme-dns-server: want both, or neither")
	case c.Always && !c.IsSet():
		return c, errors.New("--acme-challenge dns is there without a way to set TXT records: want --acme-dns-command or --acme-dns-server as well")
	case len(c.Resolvers) > 0 && !c.IsSet():
		return c, errors.New("--acme-dns-resolver is there without a way to set TXT records: want --acme-dns-command or --acme-dns-server as well")
	}
	if c.Command != "" {
		if err := acmedns.CheckCommand(c.Command); err != nil {
			return c, fmt.Errorf("--acme-dns-command: %w", err)
		}
	}
	if f.ACMEDNSKeyFile != "" {
		var err error
		if c.Key, err = acmedns.ReadKey(f.ACMEDNSKeyFile); err != nil {
			return c, fmt.Errorf("--acme-dns-key-file: %w", err)
		}
	}
	return c, nil
}

// A challenge is how names are proven.
type challenge string

func (c *challenge) UnmarshalText(text []byte) error {
	switch string(text) {
	case "any", "dns":
		*c = challenge(text)
		return nil
	}
	return fmt.Errorf("%q is no way to prove a name: want any or dns", text)
}

func (challenge) choices() []string { return []string{"any", "dns"} }

// A dnsServer is the address of a server of the DNS, at port 53 if it names none.
type dnsServer string

func (s *dnsServer) UnmarshalText(text []byte) error {
	address := string(text)
	host, port, err := net.SplitHostPort(address)
	if err != nil { // no port, or an address of IPv6 with or without brackets
		host, port = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), "53"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, " \t/[]") || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return fmt.Errorf("%q is no server of the DNS: want one such as 192.0.2.1:53 or ns1.example.com", address)
	}
	*s = dnsServer(net.JoinHostPort(host, port))
	return nil
}

// dnsServers are several of them, separated by commas.
type dnsServers []string

func (l *dnsServers) UnmarshalText(text []byte) error {
	for part := range strings.SplitSeq(string(text), ",") {
		var s dnsServer
		if err := s.UnmarshalText([]byte(strings.TrimSpace(part))); err != nil {
			return err
		}
		*l = append(*l, string(s))
	}
	return nil
}
