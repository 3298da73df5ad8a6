package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Logs passes lines of the log to each, on the caller's goroutine, as they are
// there, with their ends; each must not keep them. Logs returns an error of
// each, or why there is no answer. With Follow it goes on until ctx ends, whose
// cause it returns, also with a process that takes the place of the proxy; if the
// proxy ends before, that is ErrNoProxy.
func (c *Client) Logs(ctx context.Context, q LogQuery, each func(line []byte) error) error {
	for {
		goesOn, err := c.logsOnce(ctx, q, each)
		if !goesOn {
			return err
		}
		q.Lines = 0 // all of the other process, which has just begun
	}
}

// logsOnce is Logs of one process. It reports whether the log goes on in another one.
func (c *Client) logsOnce(ctx context.Context, q LogQuery, each func(line []byte) error) (goesOn bool, err error) {
	conn, err := c.dialFirst(ctx)
	if err != nil {
		return false, fmt.Errorf("parachute: logs: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(queryTimeout))
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // a deadline might be lifted again
	defer stop()
	resp, err := conn.send(http.MethodGet, q.path(), nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		return false, conn.readError(resp)
	}
	switch {
	case err != nil:
	case q.Follow:
		_ = conn.SetDeadline(time.Time{})
		return conn.follow(ctx, resp, each)
	default:
		var text []byte
		if text, err = io.ReadAll(resp.Body); err == nil { // all at once, for each may take its time
			return false, passLines(text, each)
		}
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return false, fmt.Errorf("parachute: logs: no answer from the proxy on %s: %w", conn.socket, err)
}

// follow passes lines on until ctx or the answer ends. It reports whether they go on in another
// process.
func (c *proxyConn) follow(ctx context.Context, answer *http.Response, each func(line []byte) error) (goesOn bool, err error) {
	lines := bufio.NewReader(answer.Body)
	for {
		line, err := lines.ReadBytes('\n')
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case errors.Is(err, io.EOF) && answer.Trailer.Get(goesOnField) != "":
			return true, nil
		case errors.Is(err, io.EOF):
			return false, &textError{fmt.Sprintf("parachute: logs: the proxy on %s has ended", c.socket), ErrNoProxy}
		case err != nil:
			return false, &textError{fmt.Sprintf("parachute: logs: the connection to the proxy on %s was lost: %v", c.socket, err), errors.Join(ErrNoProxy, err)}
		}
		if err := each(line); err != nil {
			return false, err
		}
	}
}

func passLines(text []byte, each func(line []byte) error) error {
	for line := range bytes.Lines(text) {
		if err := each(line); err != nil {
			return err
		}
	}
	return nil
}
