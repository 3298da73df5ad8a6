package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/certstore"
	"github.com/shahnk19/parachute/cmd/parachute/internal/etcd"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
)

// etcdFlags say what the proxy shares with others, and where.
type etcdFlags struct {
	Etcd                  urls         `name:"etcd" envar:"prefixed" group:"Fleet:" placeholder:"URL,..." help:"Servers of the etcd by which several proxies share their certificates, such as http://10.0.0.5:2379. All of them are with http, or all with https."`
	EtcdPrefix            string       `name:"etcd-prefix" envar:"prefixed" group:"Fleet:" placeholder:"/parachute/default" help:"What the keys of these proxies begin with in etcd; another fleet has another prefix."`
	EtcdCert              string       `name:"etcd-cert" envar:"prefixed" group:"Fleet:" placeholder:"FILE" help:"Certificate that is shown to etcd, in PEM form. It may be renewed while the proxy runs."`
	EtcdKey               string       `name:"etcd-key" envar:"prefixed" group:"Fleet:" placeholder:"FILE" help:"Key of the certificate that is shown to etcd, in PEM form."`
	EtcdCA                string       `name:"etcd-ca" envar:"prefixed" group:"Fleet:" placeholder:"FILE" help:"Certificate authorities, in PEM form, by which etcd is verified; if none are given, those of the system."`
	EtcdUser              userPassword `name:"etcd-user" envar:"prefixed" group:"Fleet:" placeholder:"NAME:PASSWORD" help:"User of etcd's own authentication. In a variable the password is not seen in the list of processes."`
	EtcdLease             leaseTime    `name:"etcd-lease" envar:"prefixed" group:"Fleet:" placeholder:"10s" help:"How long a proxy that etcd does not hear of still counts as one that runs."`
	EtcdEncryptionKeyFile string       `name:"etcd-encryption-key-file" envar:"prefixed" group:"Fleet:" placeholder:"FILE" help:"Key by which certificates and their keys are encrypted before etcd has them, with AES-256-GCM: 32 bytes in base64 or in hexadecimal, the same for all. If none is given, they are not encrypted."`
	FleetName             fleetName    `name:"fleet-name" envar:"prefixed" group:"Fleet:" placeholder:"NAME" help:"What the others call this proxy; if none is given, it has the name of the host."`
}

const (
	defaultPrefix = "/parachute/default"
	defaultLease  = 10 * time.Second
)

// config returns what they ask for.
func (f etcdFlags) config() (server.FleetConfig, error) {
	c := server.FleetConfig{
		Etcd: etcd.Config{
			Endpoints: f.Etcd,
			Prefix:    f.EtcdPrefix,
			User:      f.EtcdUser.name,
			Password:  f.EtcdUser.password,
			CertFile:  f.EtcdCert,
			KeyFile:   f.EtcdKey,
			CAFile:    f.EtcdCA,
		},
		Lease: time.Duration(f.EtcdLease),
		Name:  string(f.FleetName),
	}
	if !c.Etcd.IsSet() {
		if f.EtcdPrefix+f.EtcdCert+f.EtcdKey+f.EtcdCA+f.EtcdUser.name+f.EtcdEncryptionKeyFile+string(f.FleetName) != "" || f.EtcdLease != 0 {
			return c, errors.New("there is an option of a fleet without --etcd: want the URLs of its etcd as well")
		}
		return c, nil
	}
	if c.Etcd.Prefix == "" {
		c.Etcd.Prefix = defaultPrefix
	}
	if c.Lease == 0 {
		c.Lease = defaultLease
	}
	if err := c.Etcd.Check(); err != nil {
		return c, fmt.Errorf("--etcd: %w", err)
	}
	var err error
	if c.Name == "" {
		if c.Name, err = hostName(); err != nil {
			return c, err
		}
	}
	if f.EtcdEncryptionKeyFile != "" {
		if c.Seal, err = certstore.ReadSeal(f.EtcdEncryptionKeyFile); err != nil {
			return c, fmt.Errorf("--etcd-encryption-key-file: %w", err)
		}
	}
	return c, nil
}

// hostName returns the host's name as that of a proxy.
func hostName() (string, error) {
	host, err := os.Hostname()
	var name fleetName
	if err == nil {
		err = name.UnmarshalText([]byte(host))
	}
	if err != nil {
		return "", fmt.Errorf("--fleet-name is not given, and the host has no name for it: %w", err)
	}
	return string(name), nil
}

// urls are several of them, separated by commas.
type urls []string

func (l *urls) UnmarshalText(text []byte) error {
	for s := range strings.SplitSeq(string(text), ",") {
		*l = append(*l, strings.TrimSpace(s))
	}
	return (etcd.Config{Endpoints: *l, Prefix: defaultPrefix}).Check()
}

// A userPassword is a user with a password. No error message shows them.
type userPassword struct{ name, password string }

func (c *userPassword) UnmarshalText(text []byte) error {
	name, password, ok := strings.Cut(string(text), ":")
	if !ok || name == "" || password == "" {
		return errors.New("want a name and a password with a colon in between, such as parachute:secret")
	}
	*c = userPassword{name, password}
	return nil
}

// A leaseTime is how long a lease lasts.
type leaseTime time.Duration

// Leases shorter than minLease end whenever etcd elects another leader, and longer ones than
// maxLease keep a deploy waiting for a proxy that is gone.
const (
	minLease = 5 * time.Second
	maxLease = 5 * time.Minute
)

func (l *leaseTime) UnmarshalText(text []byte) error {
	d, err := parseDuration(string(text))
	switch {
	case err != nil:
		return err
	case d < minLease || d > maxLease || d%time.Second != 0:
		return fmt.Errorf("%q is no time for a lease: want whole seconds from %v to %v", text, minLease, maxLease)
	}
	*l = leaseTime(d)
	return nil
}

// A fleetName is the name of a proxy among those that share an etcd.
type fleetName string

const maxFleetName = 64

func (n *fleetName) UnmarshalText(text []byte) error {
	isOther := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r))
	}
	if len(text) == 0 || len(text) > maxFleetName || strings.ContainsFunc(string(text), isOther) {
		return fmt.Errorf("%q is no name of a proxy: want up to %d letters, digits, hyphens, dots and underscores, such as eu-1", text, maxFleetName)
	}
	*n = fleetName(text)
	return nil
}
