// Package kamal reads the state file of kamal-proxy, so that parachute can serve
// its services.
//
// It was written against the state of kamal-proxy v0.9: a JSON list of services,
// each with name, active_targets, active_readers, rollout_targets,
// rollout_readers, options, target_options, pause_controller and
// rollout_controller, and against active_target, rollout_target, hosts and
// path_prefixes of older versions. Durations are nanoseconds. Names match
// regardless of case, '_' and '-'.
package kamal

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/regular"
)

// FileName is the name of the state file in kamal-proxy's folder.
const FileName = "kamal-proxy.state"

// maxSize is more than any state needs.
const maxSize = 64 << 20

// Read returns the services in the file at path, for parachute.Proxy.Restore. Each
// of warnings is a sentence about something that was not taken over. Read does not
// change the file. It returns an error if nothing could be read; the error wraps
// fs.ErrNotExist if there is no file.
func Read(path string) (services []parachute.Status, warnings []string, err error) {
	data, err := regular.ReadFileNoFollow(path, maxSize)
	if err != nil {
		return nil, nil, err
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, nil, fmt.Errorf("%s is not a state of kamal-proxy: %w", path, err)
	}
	warn := func(about, format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf("%s: %s: ", path, about)+fmt.Sprintf(format, args...))
	}
	for i, entry := range entries {
		o := newObject(entry, fmt.Sprintf("service number %d", i+1), warn)
		name := o.text("name")
		if name == "" {
			warn(o.subject, "it has no name and is left out")
			continue
		}
		o.subject = "service " + name
		s := service(o, name)
		s.Generation = uint64(len(services) + 1)
		services = append(services, s)
	}
	return services, warnings, nil
}

// service returns the service that o describes.
func service(o *object, name string) parachute.Status {
	d := parachute.Deployment{
		Service:     name,
		Targets:     o.listOrText("active_targets", "active_target"),
		ReadTargets: o.list("active_readers"),
		Hosts:       o.list("hosts"),

		PathPrefixes: o.list("path_prefixes"),
	}
	serviceOptions(o.object("options"), &d)
	targetOptions(o.object("target_options"), &d)
	s := parachute.Status{Service: name, State: parachute.StateServing, Deployment: d}
	pause(o.object("pause_controller"), &s)
	rollout(o, &s)
	o.warnUnread()
	return s
}

func serviceOptions(o *object, d *parachute.Deployment) {
	if hosts := o.list("hosts"); len(hosts) > 0 {
		d.Hosts = hosts
	}
	if prefixes := o.list("path_prefixes"); len(prefixes) > 0 {
		d.PathPrefixes = prefixes
	}
	d.KeepPrefix = !o.boolean("strip_prefix", true)
	d.CanonicalHost = o.text("canonical_host")
	d.ErrorPages = o.path("error_page_path")
	d.Timeouts.WriterAffinity = o.limit("writer_affinity_timeout")
	d.ReadWebSockets = o.boolean("read_targets_accept_websockets", false) && len(d.ReadTargets) > 0
	tls(o, d)
	o.warnUnread()
}

// stagingHost is part of the URL of Let's Encrypt's staging directory.
const stagingHost = "acme-staging"

// letsEncrypt is the host of Let's Encrypt's default directory.
const letsEncrypt = "acme-v02.api.letsencrypt.org"

func tls(o *object, d *parachute.Deployment) {
	enabled := o.boolean("tls_enabled", false)
	t := parachute.TLS{
		Mode:       parachute.TLSAutomatic,
		CertFile:   o.path("tls_certificate_path"),
		KeyFile:    o.path("tls_private_key_path"),
		AskURL:     o.text("tls_on_demand_url"),
		NoRedirect: !o.boolean("tls_redirect", true),
		CacheDir:   o.path("acme_cache_path"),
	}
	directory := o.text("acme_directory")
	if !enabled {
		return // kamal-proxy writes the other fields even without TLS
	}
	switch {
	case strings.Contains(directory, stagingHost):
		t.Staging = true
	case directory != "" && !strings.Contains(directory, letsEncrypt):
		o.warn(o.subject, "acme_directory %s is not taken over: name it with run --acme-directory", directory)
	}
	switch {
	case t.CertFile != "":
		t.Mode, t.CacheDir = parachute.TLSFiles, ""
	case t.AskURL != "":
		t.Mode = parachute.TLSOnDemand
	}
	d.TLS = t
}

func targetOptions(o *object, d *parachute.Deployment) {
	health := o.object("health_check_config")
	d.HealthCheck = parachute.HealthCheck{
		Path:     health.text("path"),
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
	d.MaxRequestBody = o.number("max_request_body_size")
	d.MaxResponseBody = o.number("max_response_body_size")
	d.Report.RequestHeaders = o.list("log_request_headers")
	d.Report.ResponseHeaders = o.list("log_response_headers")
	d.Report.ExcludeMetricsPaths = o.list("exclude_metrics_paths")
	d.Headers.ScopeCookies = o.boolean("scope_cookie_paths", false)
	if o.has("forward_headers") {
		d.Forwarded.Trust = parachute.TrustNobody
		if o.boolean("forward_headers", false) {
			d.Forwarded.Trust = parachute.TrustEverybody
		}
	}
	o.warnUnread()
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
	targets, readers := o.listOrText("rollout_targets", "rollout_target"), o.list("rollout_readers")
	c := o.object("rollout_controller")
	split := parachute.Split{Percent: int(c.number("percentage")), List: c.list("allowlist")}
	c.remove("percentage_split_point") // follows from the percentage
	c.warnUnread()
	if len(targets) > 0 {
		s.Rollout = &parachute.Rollout{Targets: targets, ReadTargets: readers, Split: split}
	}
}

// path returns a member that is an absolute path. It warns of a relative one,
// because it is not known what it is relative to.
func (o *object) path(name string) string {
	p := o.text(name)
	if p != "" && !filepath.IsAbs(p) {
		o.warn(o.subject, "%s %s is not taken over: want an absolute path", name, p)
		return ""
	}
	return p
}

// limit returns a member that is a time limit. 0 in the file means no limit,
// which is negative in the library.
func (o *object) limit(name string) time.Duration {
	there := o.has(name)
	d := o.duration(name)
	if there && d == 0 {
		return -1
	}
	return d
}

// listOrText returns a list, or the single text that older versions have in its
// place.
func (o *object) listOrText(name, older string) []string {
	one := o.text(older)
	if list := o.list(name); len(list) > 0 {
		return list
	}
	if one != "" {
		return []string{one}
	}
	return nil
}
