// Package asflags says what a deployment asks for, in the flags of parachute deploy.
package asflags

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/secret"
)

// A Field is a field of a Deployment that a flag sets.
type Field struct {
	Path string // of the field, in JSON, such as "timeouts.drain"
	Flag string // without its hyphens

	byDefault string             // what the proxy fills in
	show      func(v any) string // the value as the flag takes it; nil: as it is
	hide      func(string) string
	ordered   bool // the order of the elements of a list matters
	inverse   bool // true is what the flag turns off
	once      bool // it is for one deploy, and not of what serves
	addresses bool // what matters is whether there are any
}

// Fields returns all fields that have a flag, in the order in which they are told.
func Fields() []Field {
	return []Field{
		{Path: "targets", Flag: "target", once: true},
		{Path: "tls.mode", Flag: "tls", show: tlsMode},
		{Path: "tls.staging", Flag: "tls-staging"},
		{Path: "tls.cert_file", Flag: "tls-certificate-path"},
		{Path: "tls.key_file", Flag: "tls-private-key-path"},
		{Path: "tls.ask_url", Flag: "tls-on-demand-url", hide: secret.HideQuery},
		{Path: "tls.cache_dir", Flag: "tls-acme-cache-path"},
		{Path: "tls.no_redirect", Flag: "tls-redirect", inverse: true},
		{Path: "tls.wait", Flag: "wait-certificate"},
		{Path: "access.allow", Flag: "allow"},
		{Path: "access.deny", Flag: "deny"},
		{Path: "access.basic_auth_file", Flag: "basic-auth-file"},
		{Path: "forwarded.trust", Flag: "forward-headers", show: trust},
		{Path: "forwarded.client_header", Flag: "client-ip-header"},
		{Path: "hosts", Flag: "host"},
		{Path: "path_prefixes", Flag: "path-prefix"},
		{Path: "keep_prefix", Flag: "strip-path-prefix", inverse: true},
		{Path: "canonical_host", Flag: "canonical-host"},
		{Path: "read_targets", Flag: "read-target", addresses: true},
		{Path: "read_websockets", Flag: "read-target-websockets"},
		{Path: "affinity", Flag: "affinity"},
		{Path: "target_keepalive.off", Flag: "target-keepalive", inverse: true},
		{Path: "target_keepalive.requests", Flag: "target-keepalive-requests"},
		{Path: "target_tls.ca_file", Flag: "target-ca"},
		{Path: "target_tls.server_name", Flag: "target-server-name"},
		{Path: "target_tls.insecure", Flag: "target-insecure"},
		{Path: "health_check.grpc", Flag: "health-check-grpc"},
		{Path: "health_check.grpc_service", Flag: "health-check-grpc"},
		{Path: "health_check.path", Flag: "health-check-path", byDefault: "/up", hide: secret.HideQuery},
		{Path: "health_check.port", Flag: "health-check-port"},
		{Path: "health_check.host", Flag: "health-check-host"},
		{Path: "health_check.headers", Flag: "health-check-header", hide: secret.HideField, ordered: true},
		{Path: "health_check.status", Flag: "health-check-status", byDefault: "200-299"},
		{Path: "health_check.interval", Flag: "health-check-interval", byDefault: "1s", show: span},
		{Path: "health_check.timeout", Flag: "health-check-timeout", byDefault: "5s", show: span},
		{Path: "health_check.rise", Flag: "health-check-rise", byDefault: "1"},
		{Path: "health_check.fall", Flag: "health-check-fall", byDefault: "1"},
		{Path: "timeouts.deploy", Flag: "deploy-timeout", byDefault: "30s", show: span},
		{Path: "timeouts.drain", Flag: "drain-timeout", byDefault: "30s", show: span},
		{Path: "timeouts.stream", Flag: "stream-drain-timeout", show: span},
		{Path: "no_websocket_close", Flag: "websocket-close", inverse: true},
		{Path: "timeouts.response", Flag: "target-timeout", byDefault: "30s", show: span},
		{Path: "timeouts.hold", Flag: "hold", byDefault: "5s", show: span},
		{Path: "timeouts.writer_affinity", Flag: "writer-affinity-timeout", byDefault: "1s", show: span},
		{Path: "buffer.requests", Flag: "buffer-requests"},
		{Path: "buffer.responses", Flag: "buffer-responses"},
		{Path: "buffer.memory", Flag: "buffer-memory", show: size},
		{Path: "max_request_body", Flag: "max-request-body", show: size},
		{Path: "max_response_body", Flag: "max-response-body", show: size},
		{Path: "redirects", Flag: "redirect", show: redirect, ordered: true},
		{Path: "headers.request", Flag: "request-header", hide: secret.HideRule, ordered: true},
		{Path: "headers.response", Flag: "response-header", hide: secret.HideRule, ordered: true},
		{Path: "headers.hsts", Flag: "hsts"},
		{Path: "headers.release", Flag: "release-header"},
		{Path: "headers.scope_cookies", Flag: "scope-cookie-paths"},
		{Path: "headers.rewrite_location", Flag: "rewrite-location"},
		{Path: "error_pages", Flag: "error-pages"},
		{Path: "report.request_headers", Flag: "log-request-header"},
		{Path: "report.response_headers", Flag: "log-response-header"},
		{Path: "report.exclude_metrics_paths", Flag: "exclude-metrics-path"},
		{Path: "bake.for", Flag: "bake", show: span},
		{Path: "bake.max_error_rate", Flag: "max-error-rate", show: share},
		{Path: "bake.max_slowdown", Flag: "max-slowdown", show: factor},
		{Path: "bake.min_requests", Flag: "min-requests"},
		{Path: "canary.steps", Flag: "canary", show: percentage},
		{Path: "canary.step", Flag: "step", show: span},
		{Path: "force", Flag: "force", once: true},
		{Path: "release", Flag: "release", once: true},
		{Path: "by", Flag: "by", once: true},
	}
}

// IsOnce reports whether f is for one deploy alone: it is not compared with what
// serves, nor kept from there.
func (f Field) IsOnce() bool { return f.once }

// Difference returns what a service no longer has, and what it has in addition, when it
// serves after in place of before. Both are as the proxy keeps them, with its defaults.
// What may be a secret is left out.
func Difference(before, after parachute.Deployment) parachute.Difference {
	var d parachute.Difference
	was, is := asJSON(before), asJSON(after)
	for _, f := range Fields() {
		if f.once {
			continue
		}
		gone, come := f.compare(f.elements(was), f.elements(is))
		d.NoLonger, d.Now = append(d.NoLonger, gone...), append(d.Now, come...)
	}
	d.NoLonger, d.Now = slices.Compact(d.NoLonger), slices.Compact(d.Now) // two fields may have one flag
	d.Opened = opened(before, after)
	return d
}

// compare returns what only one of two lists of elements has, as flags.
func (f Field) compare(was, is []string) (gone, come []string) {
	if f.addresses && (len(was) > 0) == (len(is) > 0) {
		return nil, nil
	}
	gone, come = missing(was, is), missing(is, was)
	if f.ordered && len(gone)+len(come) == 0 && !slices.Equal(was, is) {
		gone, come = was, is
	}
	return f.flags(gone), f.flags(come)
}

// missing returns those elements of a that are not in b, each as often as it is missing.
func missing(a, b []string) (rest []string) {
	b = slices.Clone(b)
	for _, e := range a {
		if i := slices.Index(b, e); i >= 0 {
			b = slices.Delete(b, i, i+1)
			continue
		}
		rest = append(rest, e)
	}
	return rest
}

// elements returns the values of the field of d, as the flag takes them: none if that is
// what a deployment has by default.
func (f Field) elements(d map[string]any) (all []string) {
	v := LookUp(d, f.Path)
	values, isList := v.([]any)
	if !isList {
		values = []any{v}
	}
	if f.Path == "health_check.grpc_service" || f.Path == "health_check.grpc" {
		return grpcElements(d)
	}
	for _, v := range values {
		if v == nil || v == false {
			continue
		}
		text := fmt.Sprint(v)
		if f.show != nil {
			text = f.show(v)
		}
		if text != f.byDefault {
			all = append(all, text)
		}
	}
	return all
}

// grpcElements is elements for the fields that --health-check-grpc sets.
func grpcElements(d map[string]any) []string {
	if LookUp(d, "health_check.grpc") != true {
		return nil
	}
	service, _ := LookUp(d, "health_check.grpc_service").(string)
	return []string{cmp.Or(service, "true")}
}

// flags returns the elements as they are written on a command line.
func (f Field) flags(elements []string) (all []string) {
	for _, e := range elements {
		if f.hide != nil {
			e = f.hide(e)
		}
		flag := "--" + f.Flag
		switch {
		case e == "true" && f.inverse:
			flag += "=false"
		case e == "false":
			flag += "=false"
		case e == "true":
		case strings.HasPrefix(f.Path, "health_check.grpc"):
			flag += "=" + shellWord(e)
		default:
			flag += " " + shellWord(e)
		}
		all = append(all, flag)
	}
	return all
}

// asJSON returns d in its form of JSON.
func asJSON(d parachute.Deployment) map[string]any {
	text, err := json.Marshal(d)
	if err != nil {
		return nil // plain data can be marshalled
	}
	var v map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	_ = decoder.Decode(&v)
	return v
}

// LookUp returns the value at a path, or nil if there is none.
func LookUp(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

func tlsMode(v any) string {
	if v == string(parachute.TLSOff) {
		return "false"
	}
	return "true"
}

func trust(v any) string {
	if v == string(parachute.TrustNobody) {
		return "false"
	}
	return "true"
}

// span returns a duration as short as it can be written; on the command line, 0 means
// none.
func span(v any) string {
	d, err := time.ParseDuration(fmt.Sprint(v))
	switch {
	case err != nil:
		return fmt.Sprint(v)
	case d < 0:
		return "0"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// size returns a number of bytes with the largest unit that makes it whole.
func size(v any) string {
	bytes, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	if err != nil || bytes < 0 {
		return "0"
	}
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if bytes > 0 && bytes%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", bytes/unit.bytes, unit.name)
		}
	}
	return strconv.FormatInt(bytes, 10)
}

// share returns a number from 0 to 1 in per cent.
func share(v any) string {
	n, _ := strconv.ParseFloat(fmt.Sprint(v), 64)
	return strconv.FormatFloat(n*100, 'g', 6, 64) + "%"
}

func percentage(v any) string { return fmt.Sprint(v) + "%" }

// factor returns how many times as much; on the command line, 0 means any.
func factor(v any) string {
	n, _ := strconv.ParseFloat(fmt.Sprint(v), 64)
	return strconv.FormatFloat(max(n, 0), 'g', 6, 64) + "x"
}

func redirect(v any) string {
	r, _ := v.(map[string]any)
	return fmt.Sprintf("%v=%v", r["from"], r["to"])
}

// shellWord returns s as a shell takes it for one word.
func shellWord(s string) string {
	if s != "" && !strings.ContainsAny(s, " |&;<>()$`\\\"'*?[]{}#~!^") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
