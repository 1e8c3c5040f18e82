// Package hooks asks the application over HTTP what it allows, and tells it
// what has happened. It does not know sockets, rooms' state or Redis.
//
// Every request is signed as Standard Webhooks 1.0.0 says
// (https://www.standardwebhooks.com), so that the application can tell that it
// comes from a node.
package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Bounds of what an application may answer.
const (
	maxAnswer  = 64 << 10 // bytes; more is no answer
	maxHeaders = 16 << 10 // bytes
	maxMessage = 200      // bytes of a message to the client; more is cut
)

// errAnswer is an answer that is none.
var errAnswer = errors.New("not an answer")

// newClient makes what carries requests to one address: at most so many at
// once, over connections that are kept. A nil transport stands for TCP.
//
// The address is the operator's word, so it may be any, inside or outside; what
// comes back from it never chooses another one.
func newClient(transport http.RoundTripper, atOnce int) *http.Client {
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = atOnce, atOnce, atOnce
		t.IdleConnTimeout = 30 * time.Second
		t.MaxResponseHeaderBytes = maxHeaders
		t.DisableCompression = true // a small answer cannot become a large one
		transport = t
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// readAnswer reads a body that has its bound. One that is longer is left
// unread, which closes the connection.
func readAnswer(body io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("%w: more than %d bytes", errAnswer, maxAnswer)
	}
	return b, nil
}

// send posts a signed body. The id is the same each time that it is sent again.
func send(ctx context.Context, client *http.Client, url string, s *secrets, id string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "chatring")
	if err := s.sign(req.Header, id, body); err != nil {
		return nil, err
	}
	return client.Do(req)
}
