package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/shahnk19/parachute/cmd/parachute/internal/notify"
)

// notifyFlags say who is told what happens to services.
type notifyFlags struct {
	NotifyURL    urlList      `name:"notify-url" envar:"prefixed" group:"Notifications:" placeholder:"URL" help:"POST there, as JSON, what a person would want to hear of: switches, deploys that failed or were taken back, targets that become unhealthy, and healthy again, certificates that are missing, and the start and end of the proxy. May be repeated; in the variable, separated by spaces."`
	NotifyFormat notifyFormat `envar:"prefixed" group:"Notifications:" placeholder:"json" help:"Form of the notifications: json, or slack for Slack, Mattermost and others that take the same."`
	NotifyKey    words        `envar:"prefixed" group:"Notifications:" placeholder:"KEY" help:"Key by which a notification is signed, in X-Parachute-Signature. In the variable it is not seen in the list of processes."`
}

// config returns what they ask for.
func (f notifyFlags) config() (notify.Config, error) {
	for _, flag := range []struct {
		name  string
		given bool
	}{{"--notify-format", f.NotifyFormat != ""}, {"--notify-key", f.NotifyKey != ""}} {
		if flag.given && len(f.NotifyURL) == 0 {
			return notify.Config{}, fmt.Errorf("%s is there without --notify-url: want both, or neither", flag.name)
		}
	}
	return notify.Config{URLs: f.NotifyURL, Format: notify.Format(f.NotifyFormat), Key: []byte(f.NotifyKey)}, nil
}

// A urlList is a flag that may be repeated, and whose values may each hold several URLs,
// separated by spaces. No error message shows one, since it may be a secret as a whole.
type urlList []*url.URL

func (l *urlList) UnmarshalText(text []byte) error {
	fields := strings.Fields(string(text))
	if len(fields) == 0 {
		return errURL
	}
	for _, s := range fields {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Fragment != "" {
			return errURL
		}
		*l = append(*l, u)
	}
	return nil
}

var errURL = errors.New("it is no URL to post to: want one such as https://hooks.example.com/deploys")

// A notifyFormat is the form of what is posted.
type notifyFormat notify.Format

func (f *notifyFormat) UnmarshalText(text []byte) error {
	switch v := notify.Format(text); v {
	case notify.FormatJSON, notify.FormatSlack:
		*f = notifyFormat(v)
		return nil
	}
	return fmt.Errorf("%q is no format of notifications: want json or slack", text)
}

func (notifyFormat) choices() []string {
	return []string{string(notify.FormatJSON), string(notify.FormatSlack)}
}

// words are a secret of any characters. No error message shows them.
type words string

// Decode is used in place of UnmarshalText because kong takes what begins with '-' for a
// flag, and repeats it in the error.
func (w *words) Decode(ctx *kong.DecodeContext) error {
	token := ctx.Scan.Pop()
	text := fmt.Sprint(token)
	if token.IsEOL() || token.Type == kong.UntypedToken && strings.HasPrefix(text, "--") {
		return errors.New("its value is missing; one that begins with '--' is written behind a '='")
	}
	*w = words(text)
	return nil
}
