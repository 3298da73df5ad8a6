package control

import (
	"strings"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/secret"
)

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
			rollout.Split.Preview = secret.HideField(rollout.Split.Preview)
			if rollout.Deployment != nil {
				d := *rollout.Deployment
				hideSecretsOf(&d)
				rollout.Deployment = &d
			}
			s.Rollout = &rollout
		}
		if s.Live != nil {
			hideAnswers(s.Live)
		}
	}
}

// hideSecretsOf changes a deployment to what readers see of it.
func hideSecretsOf(d *parachute.Deployment) {
	d.Headers.Request = hideEach(d.Headers.Request, secret.HideRule)
	d.Headers.Response = hideEach(d.Headers.Response, secret.HideRule)
	d.HealthCheck.Headers = hideEach(d.HealthCheck.Headers, secret.HideField)
	d.HealthCheck.Path = secret.HideQuery(d.HealthCheck.Path)
	d.TLS.AskURL = secret.HideQuery(d.TLS.AskURL)
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
		probe.URL, probe.Location, probe.Body = secret.HideQuery(probe.URL), secret.HideQuery(probe.Location), ""
		probe.GRPC, _, _ = strings.Cut(probe.GRPC, ":")
		if probe.Cause == parachute.CauseMalformed || probe.Cause == parachute.CauseNotGRPC {
			probe.Error = secret.Hidden // it may quote the answer
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

func hideAll(string) string { return secret.Hidden }
