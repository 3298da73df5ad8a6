package issuer_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/issuer"
)

type settings = issuer.Settings[string]

func TestSettingsThatCanBeServedAreAccepted(t *testing.T) {
	app, none := []string{"app.test"}, []string(nil)
	for name, tt := range map[string]struct {
		settings settings
		hosts    []string
	}{
		"nothing":                {settings{}, none},
		"nothing, with a host":   {settings{}, []string{"localhost"}},
		"off":                    {settings{Mode: issuer.Off}, []string{"*.app.test"}},
		"automatic":              {settings{Mode: issuer.Automatic}, app},
		"automatic, all of it":   {settings{Mode: issuer.Automatic, Staging: true, CacheDir: "/cache", NoRedirect: true, Wait: true}, app},
		"files":                  {settings{Mode: issuer.Files, CertFile: "/cert", KeyFile: "/key", NoRedirect: true, Wait: true}, []string{"localhost", "*.app.test"}},
		"on demand":              {settings{Mode: issuer.OnDemand, AskURL: "/ask"}, none},
		"on demand, all of it":   {settings{Mode: issuer.OnDemand, AskURL: "/ask", Staging: true, CacheDir: "/cache", NoRedirect: true, Wait: true}, none},
		"automatic, two of them": {settings{Mode: issuer.Automatic}, []string{"app.test", "www.app.test"}},
	} {
		t.Run(name, func(t *testing.T) {
			is.New(t).NoErr(tt.settings.Check(tt.hosts))
		})
	}
}

func TestSettingsThatCannotBeServedSayWhatWouldBeRight(t *testing.T) {
	app, none := []string{"app.test"}, []string(nil)
	files := settings{Mode: issuer.Files, CertFile: "/cert", KeyFile: "/key"}
	with := func(s settings, change func(*settings)) settings {
		change(&s)
		return s
	}
	const useless = `: they are of no use unless it is "automatic", "files" or "on-demand"`
	for want, tt := range map[string]struct {
		settings settings
		hosts    []string
	}{
		`TLS settings with TLS mode ""` + useless:                                                                                                          {settings{Wait: true}, app},
		`TLS settings with TLS mode "off"` + useless:                                                                                                       {settings{Mode: issuer.Off, NoRedirect: true}, app},
		`TLS mode "on": want "off", "automatic", "files" or "on-demand"`:                                                                                   {settings{Mode: "on"}, app},
		"TLS without a host: name the hosts that the certificates are for":                                                                                 {settings{Mode: issuer.Automatic}, none},
		"ask URL /ask: it is of use with TLS mode \"on-demand\" alone":                                                                                     {settings{Mode: issuer.Automatic, AskURL: "/ask"}, app},
		"certificate file /cert: it is of use with TLS mode \"files\" alone":                                                                               {settings{Mode: issuer.Automatic, CertFile: "/cert", KeyFile: "/key"}, app},
		"certificate file /key: it is of use with TLS mode \"files\" alone":                                                                                {settings{Mode: issuer.OnDemand, AskURL: "/ask", KeyFile: "/key"}, none},
		"certificate file \"\" and key file \"/key\": want an absolute path of each":                                                                       {with(files, func(s *settings) { s.CertFile = "" }), app},
		"certificate file \"/cert\" and key file \"key\": want an absolute path of each":                                                                   {with(files, func(s *settings) { s.KeyFile = "key" }), app},
		"certificate cache \"cache\": want an absolute path":                                                                                               {settings{Mode: issuer.Automatic, CacheDir: "cache"}, app},
		"host localhost: " + issuer.CheckName("localhost").Error() + ": give its files":                                                                    {settings{Mode: issuer.Automatic}, []string{"app.test", "localhost"}},
		issuer.CheckAskURL("").Error():                                                                                                                     {settings{Mode: issuer.OnDemand}, none},
		"TLS on demand with host app.test: certificates on demand are for the names of visitors, so name no host, or get those of the hosts automatically": {settings{Mode: issuer.OnDemand, AskURL: "/ask"}, app},
	} {
		t.Run(want, func(t *testing.T) {
			err := tt.settings.Check(tt.hosts)
			is := is.New(t)
			is.True(err != nil)
			is.Equal(err.Error(), want)
		})
	}
	for name, s := range map[string]settings{
		"staging":  with(files, func(s *settings) { s.Staging = true }),
		"a folder": with(files, func(s *settings) { s.CacheDir = "/cache" }),
	} {
		t.Run(name, func(t *testing.T) {
			err := s.Check(app)
			is := is.New(t)
			is.True(err != nil)
			is.Equal(err.Error(), `TLS mode "files" asks no authority: leave out what says which, and where to keep what it issues`)
		})
	}
}
