package control_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// send sends a request to a plane, and returns the whole answer.
func (p *plane) send(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.socket)
		},
	}}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://parachute"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestDeployIsAgreedToByWhoHasAskedForIt(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	target, reader := newTarget(t), newTarget(t)
	d := parachute.Deployment{Service: "web", Targets: []string{target}, ReadTargets: []string{reader}, Release: "v7"}
	var asked []control.Question
	refusal := errors.New("the smoke test failed")
	answer := refusal
	how := control.Manner{Agree: func(_ context.Context, q control.Question) error {
		asked = append(asked, q)
		return answer
	}}
	_, err := p.client.DeployIn(t.Context(), d, how, nil)
	is.True(errors.Is(err, control.ErrRefused))
	is.True(saysAll(err.Error(), "deploy web", "the smoke test failed"))
	is.Equal(len(p.proxy.Services()), 0)

	answer = nil
	result, err := p.client.DeployIn(t.Context(), d, how, nil)
	is.NoErr(err)
	is.Equal(result.Generation, uint64(2))
	is.Equal(asked[1], control.Question{Service: "web", Generation: 2, Release: "v7", Targets: []string{target, reader}})
	_, err = p.client.Amend(t.Context(), "web", nil, map[string]any{"hosts": []string{"a.test"}}, how, nil)
	is.NoErr(err)
	is.Equal(len(asked), 3)

	_, err = p.client.Deploy(t.Context(), d, nil) // nobody wants to be asked
	is.NoErr(err)
	how.DryRun = true
	_, err = p.client.DeployIn(t.Context(), d, how, nil) // nothing is to be switched
	is.NoErr(err)
	is.Equal(len(asked), 3)
}

func TestWhoIsAskedIsGivenUpWithTheDeploy(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	d := parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}}
	gone := 0
	how := control.Manner{Agree: func(ctx context.Context, q control.Question) error {
		if q.Generation == 1 {
			_ = p.proxy.Deploy(context.Background(), d) // supersedes it
		}
		<-ctx.Done()
		gone++
		return nil
	}}
	_, err := p.client.DeployIn(t.Context(), d, how, nil)
	is.True(errors.Is(err, parachute.ErrSuperseded))
	is.Equal(gone, 1) // it has ended when the deploy has

	ctx, cancel := context.WithCancel(t.Context())
	_, err = p.client.DeployIn(ctx, d, how, func(e parachute.Event) {
		if e.Kind == parachute.EventHealthy {
			cancel()
		}
	})
	is.True(errors.Is(err, context.Canceled))
	is.Equal(p.proxy.Services()[0].Generation, uint64(2))
}

func TestQuestionIsALineOfTheAnswerAndTheWordARequest(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	target := newTarget(t)
	deployment := fmt.Sprintf(`{"targets":[%q]}`, target)
	conn, err := net.Dial("unix", p.socket)
	is.NoErr(err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "PUT /v1/services/web?agree=true HTTP/1.1\r\nHost: parachute\r\nAccept: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(deployment), deployment)
	is.NoErr(err)
	lines := bufio.NewScanner(conn)
	for lines.Scan() && !strings.Contains(lines.Text(), `"question"`) {
	}
	is.Equal(lines.Text(), fmt.Sprintf(`{"question":{"service":"web","generation":1,"targets":[%q]}}`, target))

	for _, test := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/v1/services/web/agreement", `{"generation":2}`, 404, "no deploy with generation 2 waits"},
		{"/v1/services/api/agreement", `{"generation":1}`, 404, "no deploy with generation 1 waits"},
		{"/v1/services/web/agreement", `{"yes":true}`, 400, "generation"},
		{"/v1/services/web/agreement", ``, 400, "the answer to a question"},
		{"/v1/services/web/agreement", `{"generation":1,"refused":"not today"}`, 200, "{}"},
		{"/v1/services/web/agreement", `{"generation":1}`, 404, "no deploy"}, // it was answered
	} {
		status, answer := p.send(t, "POST", test.path, test.body)
		is.Equal(status, test.status)
		is.True(strings.Contains(answer, test.says))
	}
	var last string
	for lines.Scan() {
		if text := lines.Text(); strings.HasPrefix(text, "{") {
			last = text
		}
		if strings.Contains(last, `"error":{`) && !strings.Contains(last, `"event"`) {
			break
		}
	}
	is.True(saysAll(last, `"code":"refused"`, "not today"))

	status, answer := p.send(t, "PUT", "/v1/services/web?agree=true", deployment)
	is.Equal(status, 400)
	is.True(strings.Contains(answer, "application/x-ndjson")) // how to be asked
	is.Equal(len(p.proxy.Services()), 0)
}
