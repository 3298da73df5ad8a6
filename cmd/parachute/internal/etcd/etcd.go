// Package etcd is a kv.Store on etcd.
package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/internal/regular"
)

// requestTimeout is how long one request may take.
const requestTimeout = 5 * time.Second

// After keepAliveTime without a sign of life on a connection in use, etcd is asked for one,
// and has keepAliveTimeout for that. gRPC allows no shorter time.
const (
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 3 * time.Second
)

// maxFile bounds the size of a file with certificates or keys.
const maxFile = 4 << 20

// A Config says where an etcd is.
type Config struct {
	// Endpoints are the URLs of its servers, all with http, or all with https.
	Endpoints []string

	// Prefix begins all keys; a "/" behind it belongs to it.
	Prefix string

	// User and Password are those of etcd's own authentication. If User is empty, there
	// is none.
	User     string
	Password string

	// CertFile and KeyFile are what the proxy shows of itself, in PEM form. They are read
	// for each connection, so that they can be renewed. If they are empty, it shows
	// nothing.
	CertFile string
	KeyFile  string

	// CAFile has the authorities that vouch for etcd, in PEM form. If it is empty, those
	// of the system do.
	CAFile string

	// Timeout is how long one request may take. If 0, 5 s.
	Timeout time.Duration
}

// IsSet reports whether there is an etcd at all.
func (c Config) IsSet() bool { return len(c.Endpoints) > 0 }

// Check returns what cannot be meant with c, without reading a file.
func (c Config) Check() error {
	secure := 0
	for _, endpoint := range c.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" ||
			u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%q is no URL of an etcd: want one such as http://10.0.0.5:2379", endpoint)
		}
		if u.Scheme == "https" {
			secure++
		}
	}
	switch {
	case !c.IsSet():
		return errors.New("no etcd is named: want URLs such as http://10.0.0.5:2379")
	case secure != 0 && secure != len(c.Endpoints):
		return errors.New("some URLs are with https, others are with http: want the same for all servers of an etcd")
	case secure == 0 && c.CertFile+c.KeyFile+c.CAFile != "":
		return errors.New("certificates are of no use with URLs that begin with http: want https")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("a certificate is there without its key, or a key without its certificate: want both, or neither")
	case strings.Trim(c.Prefix, "/") == "":
		return errors.New("no prefix is named: want one such as /parachute/production, which other programs do not use")
	}
	return nil
}

// A Store is a kv.Store on an etcd. Open one with Open.
type Store struct {
	o       Config
	prefix  string
	config  clientv3.Config
	cancel  context.CancelFunc // ends what goes on in the client
	making  chan struct{}      // has one element, for who makes the client, or closes it
	current atomic.Pointer[clientv3.Client]
	closed  atomic.Bool
}

var errClosed = errors.New("the connection to etcd is closed")

// Open returns a Store on the etcd that c is about, which has passed its Check. It reads
// the files, and does not wait for etcd. The caller must call Close.
func Open(c Config) (*Store, error) {
	c.Timeout = cmp.Or(c.Timeout, requestTimeout)
	secure, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{
		o:      c,
		prefix: strings.TrimRight(c.Prefix, "/") + "/",
		cancel: cancel,
		making: make(chan struct{}, 1),
		config: clientv3.Config{
			Context:              ctx,
			Endpoints:            c.Endpoints,
			DialTimeout:          c.Timeout,
			DialKeepAliveTime:    keepAliveTime,
			DialKeepAliveTimeout: keepAliveTimeout,
			TLS:                  secure,
			Username:             c.User,
			Password:             c.Password,
			Logger:               zap.NewNop(),
			DialOptions: []grpc.DialOption{
				grpc.WithChainUnaryInterceptor(tellUnsentCall),
				grpc.WithChainStreamInterceptor(tellUnsentStream),
			},
		},
	}
	s.making <- struct{}{}
	return s, nil
}

// tlsConfig returns how connections are secured; nil: they are not.
func (c Config) tlsConfig() (*tls.Config, error) {
	if !strings.HasPrefix(c.Endpoints[0], "https:") {
		return nil, nil
	}
	config := new(tls.Config)
	if c.CAFile != "" {
		pem, err := regular.ReadFile(c.CAFile, maxFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate in it: want one in PEM form", c.CAFile)
		}
	}
	if c.CertFile != "" {
		if _, err := c.ownCertificate(nil); err != nil {
			return nil, err
		}
		config.GetClientCertificate = c.ownCertificate
	}
	return config, nil
}

func (c Config) ownCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	var files [2][]byte
	for i, name := range []string{c.CertFile, c.KeyFile} {
		var err error
		if files[i], err = regular.ReadFile(name, maxFile); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", c.CertFile, c.KeyFile, err)
	}
	return &pair, nil
}

// Close ends all calls, and returns when the connections are closed.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.cancel()
	<-s.making // nobody makes one any more
	defer func() { s.making <- struct{}{} }()
	if client := s.current.Swap(nil); client != nil {
		_ = client.Close() // the error is that of the context which has just been ended
	}
	return nil
}

// client returns the client. The first call makes it, which is where etcd is told user and
// password; if that does not do, the next one makes it.
func (s *Store) client(ctx context.Context) (*clientv3.Client, error) {
	if client := s.current.Load(); client != nil {
		return client, nil
	}
	select {
	case <-s.making:
		defer func() { s.making <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if client := s.current.Load(); client != nil {
		return client, nil
	}
	if s.closed.Load() {
		return nil, errClosed
	}
	client, err := clientv3.New(s.config)
	if err == nil {
		s.current.Store(client)
	}
	return client, err
}

var _ kv.Store = (*Store)(nil)
