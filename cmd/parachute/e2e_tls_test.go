package main_test

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestDeployWithCertificateFilesServesHTTPSAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const host = "app1.example.com"
	port := proxytest.FreePort(t)
	env := newEnvironment(t).with(environment{"HTTPS_PORT": port})
	proxy, address := startProxy(t, asBinary, env)
	secure := "127.0.0.1:" + port
	a, ca := newApp(t, "web"), proxytest.NewCA()
	certFile, keyFile := ca.WritePair(t, t.TempDir(), host)

	deploying := asBinary(t, env, "deploy", a.address, "--host", host,
		"--tls", "--tls-certificate-path", relative(t, certFile), "--tls-private-key-path", relative(t, keyFile))
	is.Equal(deploying.wait(t), 0)
	is.True(regexp.MustCompile(`certificate +ready\n$`).MatchString(deploying.stdout.String())) // the last thing
	is.Equal(list(t, env)[0].Deployment.TLS.CertFile, certFile)                                 // whose folder may be another

	for range 2 {
		client := newClient(t)
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: ca.Pool(), ServerName: host}
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		r, err := http.NewRequest(http.MethodGet, "https://"+secure, nil)
		is.NoErr(err)
		r.Host = host
		res, err := client.Do(r)
		is.NoErr(err)
		is.NoErr(res.Body.Close())
		is.Equal(res.StatusCode, http.StatusOK)

		r.URL.Scheme, r.URL.Host, r.URL.Path = "http", address, "/a"
		res, err = client.Do(r)
		is.NoErr(err)
		is.NoErr(res.Body.Close())
		is.Equal(res.Header.Get("Location"), "https://"+host+":"+port+"/a") // with the port that is not 443

		proxy.interrupt()
		is.Equal(proxy.wait(t), 0)
		proxy, address = startProxy(t, asBinary, env)
	}
}

func TestCertificatesAndUnknownNamesAreShown(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const host = "app1.example.com"
	env := newEnvironment(t).with(environment{"HTTPS_PORT": "0"})
	proxy, _ := startProxy(t, inProcess, env)
	var https struct{ Address string }
	is.NoErr(json.Unmarshal([]byte(proxy.stdout.await(t, proxy, `"protocol":"https"`)), &https))
	certFile, keyFile := proxytest.NewCA().WritePair(t, t.TempDir(), host)
	deploying := inProcess(t, env, "deploy", newApp(t, "web").address, "--host", host,
		"--tls", "--tls-certificate-path", certFile, "--tls-private-key-path", keyFile)
	is.Equal(deploying.wait(t), 0)

	shown := inProcess(t, env, "certs")
	is.Equal(shown.wait(t), 0)
	lines := strings.Split(strings.TrimSpace(shown.stdout.String()), "\n")
	is.Equal(len(lines), 2) // nothing of names that nobody asked for
	is.Equal(strings.Fields(lines[0]), []string{"HOST", "ISSUER", "SOURCE", "EXPIRES", "RENEWS"})
	is.True(strings.HasPrefix(lines[1], host+"  proxytest root  files  "))

	_, err := tls.Dial("tcp", https.Address, &tls.Config{ServerName: "unknown.example.com"})
	is.True(err != nil)
	shown = inProcess(t, env, "certificates")
	is.Equal(shown.wait(t), 0)
	is.True(strings.HasSuffix(shown.stdout.String(), "\n1 TLS handshake refused, to hosts that have no certificate\n"))

	shown = inProcess(t, env, "certificates", "--json")
	is.Equal(shown.wait(t), 0)
	var all []parachute.Certificate
	is.NoErr(json.Unmarshal([]byte(shown.stdout.String()), &all))
	is.Equal(len(all), 1)
	is.Equal(all[0].Host, host)
	is.Equal(all[0].Source, parachute.TLSFiles)
}

// relative returns a path as it is from where commands are run.
func relative(t *testing.T, path string) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil {
		t.Fatal(err)
	}
	return rel
}
