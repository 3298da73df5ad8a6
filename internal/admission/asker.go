package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An Asker asks with a GET whether a name may have a certificate. An answer with
// status 200 allows it, any other below 500 refuses it, also one that leads
// elsewhere.
type Asker struct {
	// URL is what to GET, with host=NAME as one more parameter of its query.
	// It is an absolute URL, or a path of Service. Required.
	URL string

	// Transport sends the question where URL is absolute, with UserAgent.
	Transport http.RoundTripper
	UserAgent string

	// Service sends it, as a GET of a request target, where URL is a path.
	Service func(ctx context.Context, name, requestTarget string) (*http.Response, error)

	// Notify, if not nil, is called with each error of Ask, for the client does not
	// learn why its handshake failed. A Control remembers refusals, so that it asks, and
	// Notify is called, about once in KeepRefused for each refused name.
	Notify func(name string, err error)
}

// Ask is for [Options].Ask. Its error tells what was asked, and what was
// answered.
func (a *Asker) Ask(ctx context.Context, name string) error {
	err := a.answer(ctx, name)
	if err != nil && a.Notify != nil {
		a.Notify(name, err)
	}
	return err
}

// answer is Ask but for Notify.
func (a *Asker) answer(ctx context.Context, name string) error {
	began := time.Now()
	question := a.question(name)
	err := a.ask(ctx, name, question)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrRefused):
		return fmt.Errorf("GET %s: %w", question, err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		deadline, _ := ctx.Deadline()
		err = fmt.Errorf("no answer within %v", deadline.Sub(began).Round(time.Millisecond))
	}
	return fmt.Errorf("whether it may have one could not be found out: GET %s: %w", question, err)
}

// question returns the URL or request target of the question for name.
func (a *Asker) question(name string) string {
	separator := "?"
	if strings.Contains(a.URL, "?") {
		separator = "&"
	}
	return a.URL + separator + "host=" + url.QueryEscape(name)
}

func (a *Asker) ask(ctx context.Context, name, question string) error {
	resp, err := a.get(ctx, name, question)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return verdict(resp)
}

func (a *Asker) get(ctx context.Context, name, question string) (*http.Response, error) {
	if strings.HasPrefix(a.URL, "/") {
		return a.Service(ctx, name, question)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, question, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", a.UserAgent)
	return a.Transport.RoundTrip(r)
}

// verdict returns what an answer says, which is ErrRefused if it says no.
func verdict(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	answer := fmt.Sprintf("answered %d", resp.StatusCode)
	if to := resp.Header.Get("Location"); to != "" {
		answer += fmt.Sprintf(" to %.200s", to)
	}
	if resp.StatusCode >= 500 {
		return errors.New(answer)
	}
	return fmt.Errorf("%s: %w", answer, ErrRefused)
}
