// Package kamal reads what kamal-proxy leaves in its folder, its state and its
// certificates, so that parachute can serve its services as it did.
//
// It was written against the state of kamal-proxy v0.9 and of what followed: a JSON
// list of services, each with name, active_targets, active_readers,
// rollout_targets, rollout_readers, options, target_options, pause_controller and
// rollout_controller, and against active_target, rollout_target, host, hosts,
// path_prefix and path_prefixes of older versions. Durations are nanoseconds. Names
// match regardless of case, '_' and '-'.
package kamal

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/naming"
	"github.com/shahnk19/parachute/internal/regular"
)

// FileName is the name of the state file in kamal-proxy's folder.
const FileName = "kamal-proxy.state"

// maxSize is more than any state needs.
const maxSize = 64 << 20

// An Import is what a kamal-proxy has left.
type Import struct {
	// Services are for parachute.Proxy.Restore. What kamal-proxy served and a
	// Proxy would refuse has been left out of them, so that the rest is served.
	Services []parachute.Status

	// Certificates are the certificates of the services, and the accounts that
	// they were obtained with.
	Certificates []Certificate

	// Warnings are sentences about what was not taken over, and what is
	// different here.
	Warnings []string
}

// Read returns what the kamal-proxy has left whose state is the file at path.
// directory is the URL of the authority that new certificates come from; "" is Let's
// Encrypt's. Read changes no file. It returns an error if nothing could be read; the
// error wraps fs.ErrNotExist if there is no file.
func Read(path, directory string) (*Import, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	data, err := regular.ReadFileNoFollow(path, maxSize)
	if err != nil {
		return nil, err
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("%s is not a state of kamal-proxy: %w", path, err)
	}
	r := &reading{path: path, directory: directory, authorities: make(map[string]authority)}
	for i, entry := range entries {
		o := newObject(entry, fmt.Sprintf("service number %d", i+1), r.warn)
		name := o.text("name")
		if name == "" {
			r.warn(o.subject, "it has no name and is left out")
			continue
		}
		o.subject = "service " + name
		r.Services = append(r.Services, r.service(o, r.serviceName(o, name)))
	}
	// What a host has in common, its TLS above all, is said by the service with its
	// root, as kamal-proxy has it, and not by the one that comes first.
	slices.SortStableFunc(r.Services, func(a, b parachute.Status) int {
		return min(len(a.Deployment.PathPrefixes), 1) - min(len(b.Deployment.PathPrefixes), 1)
	})
	for i := range r.Services {
		r.Services[i].Generation = uint64(i + 1)
	}
	r.Services = fit(r.Services, r.warnService)
	r.findCertificates()
	r.warnOfTrust()
	return &r.Import, nil
}

// A reading is an Import while it is read.
type reading struct {
	Import
	path        string
	directory   string               // as Read was given it
	authorities map[string]authority // by the name of the service
}

// An authority is where kamal-proxy obtained the certificates of a service, and where
// it kept them.
type authority struct {
	directory string // URL; "": Let's Encrypt's
	folder    string // "": not known
}

func (r *reading) warn(about, format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf("%s: %s: ", r.path, about)+fmt.Sprintf(format, args...))
}

func (r *reading) warnService(name, format string, args ...any) {
	r.warn("service "+name, format, args...)
}

// serviceName returns the name that a service has here: its own, unless that cannot
// be, or is taken.
func (r *reading) serviceName(o *object, given string) string {
	name := given
	if naming.Check(name) != nil {
		name = naming.Clean(name)
	}
	isTaken := func(s parachute.Status) bool { return s.Service == name }
	for n, base := 2, name; slices.ContainsFunc(r.Services, isTaken); n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	if name != given {
		r.warn(o.subject, "its name is %s here, by which it is to be deployed", name)
	}
	return name
}

// service returns the service that o describes.
func (r *reading) service(o *object, name string) parachute.Status {
	d := parachute.Deployment{
		Service:     name,
		Targets:     targets(o.listOrText("active_targets", "active_target")),
		ReadTargets: targets(o.list("active_readers")),
	}
	options := o.object("options")
	hosts(o, options, &d)
	serviceOptions(options, &d)
	r.tls(options, &d)
	options.warnUnread()
	targetOptions(o.object("target_options"), &d)
	s := parachute.Status{Service: name, State: parachute.StateServing, Deployment: d}
	pause(o.object("pause_controller"), &s)
	rollout(o, &s)
	o.warnUnread()
	return s
}

// targets returns targets as they are named here: each once, and with the port that
// goes without saying there.
func targets(given []string) (named []string) {
	for _, target := range given {
		if !strings.Contains(target, ":") {
			target += ":80"
		}
		if !slices.Contains(named, target) {
			named = append(named, target)
		}
	}
	return named
}

// hosts reads the hosts and path prefixes, which older versions had beside the
// options. An empty host stands for every one.
func hosts(o, options *object, d *parachute.Deployment) {
	named, every := o.hosts()
	if list, all := options.hosts(); len(list) > 0 || all {
		named, every = list, all
	}
	if every && len(named) > 0 {
		o.warn(o.subject, "it is for every host, and those that it names beside that are left out: %s", strings.Join(named, ", "))
	}
	if !every {
		d.Hosts = named
	}
	prefixes := o.prefixes()
	if list := options.prefixes(); len(list) > 0 {
		prefixes = list
	}
	if !slices.Equal(prefixes, []string{"/"}) { // which is every path
		d.PathPrefixes = prefixes
	}
}

func serviceOptions(o *object, d *parachute.Deployment) {
	d.KeepPrefix = !o.boolean("strip_prefix", true)
	d.CanonicalHost = o.text("canonical_host")
	d.ErrorPages = o.path("error_page_path")
	d.Timeouts.WriterAffinity = o.limit("writer_affinity_timeout")
	d.ReadWebSockets = o.boolean("read_targets_accept_websockets", false) && len(d.ReadTargets) > 0
	d.Report.ExcludeMetricsPaths = o.list("exclude_metrics_paths")
	d.Forwarded.ClientHeader = o.text("client_ip_header")
}

// stagingHost is part of the URL of Let's Encrypt's staging directory.
const stagingHost = "acme-staging"

func (r *reading) tls(o *object, d *parachute.Deployment) {
	enabled := o.boolean("tls_enabled", false)
	t := parachute.TLS{
		Mode:       parachute.TLSAutomatic,
		CertFile:   o.path("tls_certificate_path"),
		KeyFile:    o.path("tls_private_key_path"),
		AskURL:     o.text("tls_on_demand_url"),
		NoRedirect: !o.boolean("tls_redirect", true),
	}
	from := authority{o.text("acme_directory"), o.path("acme_cache_path")}
	if !enabled {
		return // kamal-proxy writes the other fields even without TLS
	}
	switch {
	case t.CertFile != "" && t.KeyFile != "":
		t.Mode, t.AskURL = parachute.TLSFiles, ""
		d.TLS = t
		return
	case t.AskURL != "":
		t.Mode = parachute.TLSOnDemand
	}
	t.CertFile, t.KeyFile = "", ""
	switch t.Staging = strings.Contains(from.directory, stagingHost); {
	case t.Staging:
	case from.directory != "" && !sameAuthority(from.directory, r.directory):
		o.warn(o.subject, "acme_directory %s is not taken over: unless run --acme-directory names it, new certificates come from another authority", from.directory)
	}
	if !r.isUsualFolder(from.folder) {
		t.CacheDir = from.folder
	}
	r.authorities[d.Service] = from
	d.TLS = t
}

// isUsualFolder reports whether a folder of certificates is the one that kamal-proxy
// uses if it is told of no other. The folder of the state may have been moved.
func (r *reading) isUsualFolder(folder string) bool {
	return folder == "" || folder == filepath.Join(filepath.Dir(r.path), certsName) ||
		strings.HasSuffix(folder, "/.config/kamal-proxy/"+certsName)
}

func targetOptions(o *object, d *parachute.Deployment) {
	health := o.object("health_check_config")
	d.HealthCheck = parachute.HealthCheck{
		Path:     health.slashed("path"),
		Port:     int(health.number("port")),
		Host:     health.text("host"),
		Interval: health.duration("interval"),
		Timeout:  health.duration("timeout"),
	}
	health.warnUnread()
	d.Timeouts.Response = o.limit("response_timeout")
	d.Buffer = parachute.Buffer{
		Requests:  o.boolean("buffer_requests", false),
		Responses: o.boolean("buffer_responses", false),
		Memory:    o.number("max_memory_buffer_size"),
	}
	d.MaxRequestBody = o.sizeOfBuffered("max_request_body_size", d.Buffer.Requests)
	d.MaxResponseBody = o.sizeOfBuffered("max_response_body_size", d.Buffer.Responses)
	d.Report.RequestHeaders = o.list("log_request_headers")
	d.Report.ResponseHeaders = o.list("log_response_headers")
	d.Report.ExcludeMetricsPaths = append(d.Report.ExcludeMetricsPaths, o.list("exclude_metrics_paths")...)
	d.Headers.ScopeCookies = o.boolean("scope_cookie_paths", false)
	if o.has("forward_headers") {
		d.Forwarded.Trust = parachute.TrustNobody
		if o.boolean("forward_headers", false) {
			d.Forwarded.Trust = parachute.TrustEverybody
		}
	}
	o.warnUnread()
}

// warnOfTrust tells of the services that believe everybody, which no deploy asks for
// unless it says so.
func (r *reading) warnOfTrust() {
	var names []string
	for _, s := range r.Services {
		if s.Deployment.Forwarded.Trust == parachute.TrustEverybody {
			names = append(names, s.Service)
		}
	}
	if len(names) > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s: everybody's X-Forwarded-For, -Proto and -Host are believed as with kamal-proxy, for %s; "+
			"from its next deploy on, a service believes those of run --trusted-proxies alone, or of private networks if that names none: to keep it as it is, deploy with --forward-headers",
			r.path, strings.Join(names, ", ")))
	}
}

func pause(o *object, s *parachute.Status) {
	state, message, longest := o.state("state"), o.text("stop_message"), o.duration("fail_after")
	switch state {
	case parachute.StatePaused:
		s.State, s.Pause = state, &parachute.Pause{Max: longest}
	case parachute.StateStopped:
		s.State, s.Stop = state, &parachute.Stop{Message: message}
	}
	o.warnUnread()
}

func rollout(o *object, s *parachute.Status) {
	second := &parachute.Rollout{
		Targets:     targets(o.listOrText("rollout_targets", "rollout_target")),
		ReadTargets: targets(o.list("rollout_readers")),
	}
	c := o.object("rollout_controller")
	if isSplit := len(c.fields) > 0; isSplit {
		second.Split = parachute.Split{Percent: int(c.number("percentage")), List: c.list("allowlist"), CookieOnly: true}
	}
	if p := second.Split.Percent; p < 0 || p > 100 { // that is nobody or everybody there
		second.Split.Percent = max(0, min(p, 100))
		c.warn(c.subject, "percentage %d is %d here", p, second.Split.Percent)
	}
	c.remove("percentage_split_point") // follows from the percentage
	c.warnUnread()
	if len(second.Targets) > 0 {
		s.Rollout = second
	}
}
