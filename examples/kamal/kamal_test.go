package kamal_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// patience is how long something may take that is bound to happen.
const patience = time.Minute

// program is where the proxy is, under the name that Kamal calls it by.
var program string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kamal")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "kamal-proxy")
	if err := proxytest.Build(program, ".", "../../cmd/parachute"); err != nil {
		panic(err)
	}
	return m.Run()
}

// A step is a command line as Kamal hands it to the shell of a server, behind
// "docker exec kamal-proxy", and what a visitor gets after it. APP stands for
// an instance, DIR for the folder that Kamal mounts.
type step struct {
	command string
	visit   string // host and path; "": nobody comes
	want    string // status, and what the page has in it
}

func steps() []step {
	const logged = ` --log-request-header="Cache-Control" --log-request-header="Last-Modified" --log-request-header="User-Agent"`
	const usual = ` --deploy-timeout="30s" --drain-timeout="30s" --buffer-requests --buffer-responses` + logged
	return []step{
		{`kamal-proxy list`, "", ""},
		{`kamal-proxy deploy app-web --target="APP"` + usual, "any.example.com/", "200 app"},
		{`kamal-proxy deploy app-web --target="APP" --tls-redirect="false" --forward-headers="false"` + usual, "any.example.com/", "200 app"},
		{`kamal-proxy deploy app-web --target="APP" --host="app1.example.com" --host="app2.example.com"` + usual, "app2.example.com/", "200 app"},
		{`kamal-proxy deploy app-web --target="APP" --host="app1.example.com" --deploy-timeout="30s" --drain-timeout="30s"` +
			` --health-check-interval="1s" --health-check-timeout="5s" --health-check-path="/up" --target-timeout="10s"` +
			` --buffer-requests --buffer-responses --buffer-memory="2000000" --max-request-body="40000000" --max-response-body="0"` +
			` --forward-headers` + logged + ` --log-response-header="X-Runtime" --error-pages="DIR/error_pages"`, "app1.example.com/", "200 app"},
		{`kamal-proxy deploy app-web --target="APP" --host="app1.example.com" --path-prefix="/app" --strip-path-prefix="false"` + usual, "app1.example.com/app", "200 app"},
		{`kamal-proxy deploy app-web --target="APP" --host="app1.example.com" --path-prefix="/app,/api"` + usual, "app1.example.com/api/x", "200 app"},
		{`kamal-proxy deploy app-web --target="APP" --host="app1.example.com" --tls --forward-headers="false" --tls-redirect="false"` + usual, "app1.example.com/", "200 app"},
		{`kamal-proxy deploy app-web --target="APP" --host="app1.example.com" --tls --tls-staging` + usual, "app1.example.com/", "200 app"},
		{`kamal-proxy deploy app-web --target="APP" --host="app1.example.com" --tls` +
			` --tls-certificate-path="DIR/tls/cert.pem" --tls-private-key-path="DIR/tls/key.pem"` + usual, "app1.example.com/", "301"},
		{`kamal-proxy deploy app-admin --target="APP" --host="admin.example.com"` + usual, "admin.example.com/", "200 app"},
		{`kamal-proxy stop app-admin --drain-timeout="30s" --message="Back at <noon>"`, "admin.example.com/", "503 Back at &lt;noon&gt;"},
		{`kamal-proxy deploy app-admin --target="APP" --host="admin.example.com"` + usual, "admin.example.com/", "503 Back at &lt;noon&gt;"},
		{`kamal-proxy resume app-admin`, "admin.example.com/", "200 app"},
		{`kamal-proxy pause app-admin --drain-timeout="30s" --max-pause="1s"`, "admin.example.com/", "504"},
		{`kamal-proxy resume app-admin`, "admin.example.com/", "200 app"},
		{`kamal-proxy rollout deploy app-admin --target="APP" --deploy-timeout="30s" --drain-timeout="30s"`, "admin.example.com/", "200 app"},
		{`kamal-proxy rollout set app-admin --percent="10" --list="v1,v2"`, "admin.example.com/", "200 app"},
		{`kamal-proxy rollout stop app-admin`, "admin.example.com/", "200 app"},
		{`kamal-proxy list`, "", ""},
		{`kamal-proxy remove app-admin`, "admin.example.com/", "404"},
		{`kamal-proxy remove app-web`, "app1.example.com/", "404"},
	}
}

func TestEveryCommandLineOfKamalWorks(t *testing.T) {
	t.Parallel()
	b := boot(t, `kamal-proxy run --http-port="0" --https-port="0" --metrics-port="`+proxytest.FreePort(t)+`" --debug`)
	for _, s := range steps() {
		t.Run(s.command, func(t *testing.T) {
			is := is.New(t)
			out, err := b.shell(t, s.command)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if s.visit != "" {
				got := b.visit(t, s.visit)
				status, page, _ := strings.Cut(s.want, " ")
				is.True(strings.HasPrefix(got, status) && strings.Contains(got, page)) // what the visitor gets
			}
		})
	}
}

// Which the program does by itself, for it is called kamal-proxy.
func TestMetricsAndHeadersAreThoseOfKamalProxyToo(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	port := proxytest.FreePort(t)
	b := boot(t, `kamal-proxy run --http-port="0" --https-port="-1" --metrics-port="`+port+`"`)
	out, err := b.shell(t, `kamal-proxy deploy app-web --target="APP"`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	res, err := b.client.Get("http://" + b.address + "/")
	is.NoErr(err)
	res.Body.Close()
	is.Equal(res.Header.Get("X-Kamal-Target"), b.app)
	res, err = b.client.Get("http://127.0.0.1:" + port + "/metrics")
	is.NoErr(err)
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	is.NoErr(err)
	for _, metric := range []string{"kamal_proxy_http_requests_total{", "kamal_proxy_http_request_duration_seconds_bucket{", "kamal_proxy_http_in_flight_requests{", "parachute_requests_total{"} {
		is.True(strings.Contains(string(page), "\n"+metric)) // metric
	}
}

func TestDeployOfWhatIsNotHealthyFailsAsKamalExpects(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	b := boot(t, `kamal-proxy run --http-port="0" --https-port="-1"`)
	_, err := b.shell(t, `kamal-proxy deploy app-web --target="`+proxytest.FreeAddress(t)+`" --deploy-timeout="1s"`)
	is.True(err != nil) // so that it stops the new version
	out, err := b.shell(t, `kamal-proxy list`)
	is.NoErr(err)
	is.True(!strings.Contains(out, "app-web"))
}

func TestImageIsWhatKamalExpects(t *testing.T) {
	is := is.New(t)
	file, err := os.ReadFile("../../Dockerfile")
	is.NoErr(err)
	_, stage, found := strings.Cut(string(file), "\nFROM scratch AS kamal\n")
	is.True(found)
	stage, _, _ = strings.Cut(stage, "\nFROM ")
	for _, line := range []string{
		"org.opencontainers.image.title=kamal-proxy ",               // old images are pruned by it
		"PARACHUTE_DATA_DIR=/home/kamal-proxy/.config/kamal-proxy ", // where the volume is mounted
		"USER kamal-proxy:kamal-proxy\n",
		`CMD ["kamal-proxy", "run"]`,
	} {
		is.True(strings.Contains(stage, line))
	}
	is.True(strings.Contains(string(file), "ln -s parachute usr/local/bin/kamal-proxy")) // what is called
}

// Kamal pulls registry/repository:version as the settings have it, after it has
// removed the proxy that runs.
func TestEveryPlaceNamesTheSameImage(t *testing.T) {
	is := is.New(t)
	settings, err := os.ReadFile("deploy.yml")
	is.NoErr(err)
	value := func(key string) string {
		_, rest, found := strings.Cut(string(settings), "\n    "+key+": ")
		is.True(found) // key
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	registry, repository, version := value("registry"), value("repository"), value("version")
	image := registry + "/" + repository + ":" + version
	is.Equal(image, "registry.example.com/ops/kamal-proxy:v0.9.2")
	readme, err := os.ReadFile("README.md")
	is.NoErr(err)
	for _, line := range []string{
		"docker build --target kamal --tag " + image + " .",
		"docker push " + image,
		"kamal server exec docker pull " + image,
		"kamal proxy boot_config set --registry " + registry + " --repository " + repository + " --image-version " + version,
	} {
		is.True(strings.Contains(string(readme), "\n    "+line+"\n")) // line
	}
}

// A server is a machine on which Kamal has booted the proxy.
type server struct {
	dir     string // what Kamal mounts
	app     string // address of an instance
	address string // of the proxy
	client  *http.Client
}

// boot starts the proxy by a command of Kamal's.
func boot(t *testing.T, command string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "k") // the path of a socket may not be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &server{dir: dir, app: newApp(t), client: newClient(t)}
	if err := prepare(dir); err != nil {
		t.Fatal(err)
	}
	proxy := b.command(command)
	out, err := proxy.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	said := json.NewDecoder(out)
	t.Cleanup(func() {
		proxy.Process.Signal(syscall.SIGTERM)
		io.Copy(io.Discard, out)
		proxy.Wait()
	})
	for b.address == "" {
		var line struct{ Msg, Protocol, Address string }
		if err := said.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Msg == "listening" && line.Protocol == "http" {
			b.address = line.Address
		}
	}
	go io.Copy(io.Discard, out)
	return b
}

// prepare puts what Kamal mounts into dir.
func prepare(dir string) error {
	for _, folder := range []string{"error_pages", "tls"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
	}
	page := []byte("<h1>{{.Status}}</h1>")
	if err := os.WriteFile(filepath.Join(dir, "error_pages", "502.html"), page, 0o644); err != nil {
		return err
	}
	return writePair(filepath.Join(dir, "tls"), "app1.example.com")
}

// writePair writes a certificate and its key.
func writePair(dir, host string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: certificate},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// command returns a command line for the shell, with the environment that the
// image sets. There is no authority to get certificates from.
func (b *server) command(line string) *exec.Cmd {
	line = strings.NewReplacer("APP", b.app, "DIR", b.dir).Replace(line)
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Env = []string{
		"PATH=" + filepath.Dir(program),
		"PARACHUTE_DATA_DIR=" + filepath.Join(b.dir, "data"),
		"PARACHUTE_SOCKET=" + filepath.Join(b.dir, "s"),
		"PARACHUTE_BIND=127.0.0.1",
		"PARACHUTE_ACME_DIRECTORY=http://127.0.0.1:9/directory",
	}
	return cmd
}

// shell runs a command line and returns what it printed.
func (b *server) shell(t *testing.T, line string) (string, error) {
	t.Helper()
	cmd := b.command(line)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// visit returns the status and the page that a visitor gets.
func (b *server) visit(t *testing.T, url string) string {
	t.Helper()
	host, path, _ := strings.Cut(url, "/")
	r, err := http.NewRequest(http.MethodGet, "http://"+b.address+"/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	r.Header.Set("Accept", "text/html")
	res, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, page)
}

// newClient returns one that follows no redirect.
func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newApp returns the address of an instance.
func newApp(t *testing.T) string {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "app") }))
	t.Cleanup(app.Close)
	return app.Listener.Addr().String()
}
