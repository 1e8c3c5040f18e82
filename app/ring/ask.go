package ring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

const (
	// askTimeout is how long a node or HAProxy may take to answer. Whoever looks for a
	// dead node sees it within this and the time between two looks.
	askTimeout = 700 * time.Millisecond
	// maxAnswer is how long an answer may be. A node's events are some 40 kB.
	maxAnswer = 1 << 20
)

// A questioner asks nodes and HAProxy, without proxies and without being sent elsewhere.
type questioner struct{ client *http.Client }

func newQuestioner(transport http.RoundTripper) questioner {
	if transport == nil {
		transport = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: askTimeout}).DialContext,
			MaxIdleConnsPerHost: 2, IdleConnTimeout: 20 * time.Second, ResponseHeaderTimeout: askTimeout,
		}
	}
	return questioner{&http.Client{
		Transport: transport, Timeout: askTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get reads the answer of an address that says 200.
func (q questioner) get(ctx context.Context, address string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := q.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	return read(io.LimitReader(resp.Body, maxAnswer))
}

// getJSON reads an answer into v.
func (q questioner) getJSON(ctx context.Context, address string, v any) error {
	return q.get(ctx, address, func(body io.Reader) error {
		if err := json.NewDecoder(body).Decode(v); err != nil {
			return fmt.Errorf("%w: %w", errNonsense, err)
		}
		return nil
	})
}

var errNonsense = errors.New("what it says is none of a node's answers")

type statusError int

func (s statusError) Error() string { return fmt.Sprintf("it answers %d", int(s)) }

// problem says in a few words why an answer is missing.
func problem(err error) string {
	var status statusError
	var timeout interface{ Timeout() bool }
	var fault *url.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &status):
		return status.Error()
	case errors.Is(err, errNonsense):
		return errNonsense.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &fault):
		return "the connection fails"
	}
	return err.Error()
}
