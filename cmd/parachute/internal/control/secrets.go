package control

import (
	"strings"

	"github.com/shahnk19/parachute"
)

// hidden stands in the place of what readers do not see.
const hidden = "***"

// hideSecrets changes services to what readers see of them: without the values of
// headers, the cookies of visitors, what follows the path of a URL, and what
// applications have answered. It leaves what services share with others as it is.
func hideSecrets(services []parachute.Status) {
	for i := range services {
		s := &services[i]
		if s.Error != "" && hasSecrets(&s.Deployment) {
			s.Error = "it cannot be restored; only those who may deploy see why"
		}
		if s.Bake != nil {
			baking := *s.Bake
			hideSecretsOf(&baking.Deployment)
			s.Bake = &baking
		}
		hideSecretsOf(&s.Deployment)
		s.History = nil // which has deployments, too
		if s.Rollout != nil {
			rollout := *s.Rollout
			rollout.Split.List = hideEach(rollout.Split.List, hideAll)
			s.Rollout = &rollout
		}
		if s.Live != nil {
			hideAnswers(s.Live)
		}
	}
}

// hideSecretsOf changes a deployment to what readers see of it.
func hideSecretsOf(d *parachute.Deployment) {
	d.Headers.Request = hideEach(d.Headers.Request, hideRule)
	d.Headers.Response = hideEach(d.Headers.Response, hideRule)
	d.HealthCheck.Headers = hideEach(d.HealthCheck.Headers, hideField)
	d.HealthCheck.Path = hideQuery(d.HealthCheck.Path)
	d.TLS.AskURL = hideQuery(d.TLS.AskURL)
}

// hasSecrets reports whether an error about d may tell what hideSecrets hides.
func hasSecrets(d *parachute.Deployment) bool {
	return len(d.Headers.Request)+len(d.Headers.Response)+len(d.HealthCheck.Headers) > 0 ||
		strings.Contains(d.HealthCheck.Path+d.TLS.AskURL, "?")
}

// hideAnswers hides what applications have answered to probes.
func hideAnswers(live *parachute.Live) {
	for i := range live.Targets {
		t := &live.Targets[i]
		if t.Probe == nil {
			continue
		}
		probe := *t.Probe
		probe.URL, probe.Location, probe.Body = hideQuery(probe.URL), hideQuery(probe.Location), ""
		probe.GRPC, _, _ = strings.Cut(probe.GRPC, ":")
		if probe.Cause == parachute.CauseMalformed || probe.Cause == parachute.CauseNotGRPC {
			probe.Error = hidden // it may quote the answer
		}
		t.Probe = &probe
	}
}

func hideEach(values []string, hide func(string) string) []string {
	var all []string
	for _, v := range values {
		all = append(all, hide(v))
	}
	return all
}

// hideRule hides the value of a header rule: all that follows the name.
func hideRule(rule string) string {
	verb, rest, _ := strings.Cut(rule, " ")
	if verb == "edit" {
		name, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		return verb + " " + name + " " + hidden
	}
	return hideField(rule)
}

// hideField hides the value of "NAME: VALUE".
func hideField(field string) string {
	name, _, ok := strings.Cut(field, ":")
	if !ok {
		return name
	}
	return name + ": " + hidden
}

// hideQuery hides the query of a URL or path, and the user in it.
func hideQuery(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i+1] + hidden
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	authority, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		rest = hidden + rest[i:]
	}
	return scheme + "://" + rest
}

func hideAll(string) string { return hidden }
