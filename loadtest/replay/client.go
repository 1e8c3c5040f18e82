package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// A dialer opens sessions. It bounds how many handshakes run at once, so that
// a storm of reconnects measures the cluster and not this program.
type dialer struct {
	http  *http.Client
	slots chan struct{}
	// quiet is how long a session may hear nothing until hello says better.
	quiet time.Duration
}

func newDialer(atOnce int) *dialer {
	return &dialer{
		http: &http.Client{Transport: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			DisableKeepAlives: true,
		}},
		slots: make(chan struct{}, atOnce),
		quiet: time.Minute,
	}
}

// A session is one WebSocket connection. One goroutine reads; send may be
// called by another one meanwhile.
type session struct {
	ws  *websocket.Conn
	ctx context.Context // ends with the session
	end context.CancelFunc

	// Owned by the reading goroutine.
	buf  bytes.Buffer
	wait time.Duration // before coming back, when the node drains

	idle  *time.Timer // ends the session when nothing was heard for quiet
	quiet atomic.Int64
}

// open dials a room as a user. since is empty at the first time.
func (d *dialer) open(ctx context.Context, base, room, user, since string) (*session, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	query := url.Values{"user": {user}}
	if since != "" {
		query.Set("since", since)
	}
	s := &session{}
	s.quiet.Store(int64(d.quiet))
	handshake, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ws, answer, err := websocket.Dial(handshake, base+"/ws/chat/"+url.PathEscape(room)+"?"+query.Encode(), &websocket.DialOptions{
		HTTPClient:   d.http,
		Subprotocols: []string{"chatring.v1"},
		OnPingReceived: func(context.Context, []byte) bool {
			s.alive()
			return true
		},
	})
	if err != nil {
		return nil, refusal(answer, err)
	}
	ws.SetReadLimit(8 << 20) // a page of history may be large
	s.ws = ws
	s.ctx, s.end = context.WithCancel(ctx)
	s.idle = time.AfterFunc(d.quiet, s.end)
	return s, nil
}

// read waits for a frame. Its bytes are good until the next read. An error ends
// the session, and says when to come back if the node did.
func (s *session) read() ([]byte, error) {
	_, r, err := s.ws.Reader(s.ctx)
	if err == nil {
		s.buf.Reset()
		_, err = s.buf.ReadFrom(r)
	}
	if err != nil && s.wait > 0 {
		err = &waitError{err, s.wait}
	}
	if err != nil {
		return nil, err
	}
	s.alive()
	return s.buf.Bytes(), nil
}

// parse reads a frame, and minds what is said of the session itself.
func (s *session) parse(b []byte) (frame, error) {
	var f frame
	if err := json.Unmarshal(b, &f); err != nil {
		return frame{}, fmt.Errorf("%w: %w", err, errTerminal)
	}
	switch f.Push {
	case "hello":
		if f.PingS > 0 {
			// Hearing nothing for twice as long means that the connection is dead
			// (protocol.md, hello).
			s.quiet.Store(int64(2 * time.Duration(f.PingS) * time.Second))
		}
	case "drain":
		s.wait = between(f.ReconnectMS)
	}
	return f, nil
}

// send writes one command.
func (s *session) send(command any) error {
	b, err := encode(command)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	return s.ws.Write(ctx, websocket.MessageText, b)
}

// close gives the connection up at once.
func (s *session) close() {
	s.idle.Stop()
	s.end()
	s.ws.CloseNow()
}

// leave says goodbye, without waiting for the answer.
func (s *session) leave() {
	s.idle.Stop()
	go func() {
		s.ws.Close(websocket.StatusNormalClosure, "")
		s.end()
	}()
}

func (s *session) alive() { s.idle.Reset(time.Duration(s.quiet.Load())) }

// encode makes compact JSON, in which nothing is escaped without need, so that
// what comes back can be compared byte by byte.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// command is what this program sends.
type command struct {
	ID    int             `json:"id"`
	Cmd   string          `json:"cmd"`
	Room  string          `json:"room"`
	Key   string          `json:"key,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
	After string          `json:"after,omitempty"`
	Limit int             `json:"limit,omitempty"`
}

// frame is what this program hears: a push or a reply.
type frame struct {
	Push string `json:"push"`

	// Replies.
	ID int `json:"id"`
	OK *struct {
		Pos      string  `json:"pos"`
		Messages []frame `json:"messages"`
		More     bool    `json:"more"`
	} `json:"ok"`
	Error *wireError `json:"error"`

	// Pushes.
	Room        string          `json:"room"`
	Pos         string          `json:"pos"`
	From        string          `json:"from"`
	Key         string          `json:"key"`
	Data        json.RawMessage `json:"data"`
	Recovered   bool            `json:"recovered"`
	Before      string          `json:"before"`
	Shard       string          `json:"shard"`
	PingS       int             `json:"ping_s"`
	ReconnectMS [2]int          `json:"reconnect_ms"`
}

// failed is why a reply is no ok: to be tried again only when it is temporary.
func (f *frame) failed() error {
	switch {
	case f.Error != nil && f.Error.Temporary:
		return &waitError{f.Error, time.Duration(f.Error.RetryAfterMS) * time.Millisecond}
	case f.Error != nil:
		return fmt.Errorf("%w: %w", f.Error, errTerminal)
	case f.OK == nil:
		return fmt.Errorf("a reply that is neither ok nor error: %w", errTerminal)
	default:
		return nil
	}
}

// wireError is an error reply.
type wireError struct {
	Code         string `json:"code"`
	Message      string `json:"message"`
	Temporary    bool   `json:"temporary"`
	RetryAfterMS int    `json:"retry_after_ms"`
}

func (e *wireError) Error() string { return e.Code + ": " + e.Message }

// errTerminal is wrapped by errors after which coming back is of no use.
var errTerminal = errors.New("not to be tried again")

// waitError is an error that says after which time to come back.
type waitError struct {
	err   error
	after time.Duration
}

func (e *waitError) Error() string { return e.err.Error() }
func (e *waitError) Unwrap() error { return e.err }

// refusal reads the HTTP answer to a failed handshake: 4xx are terminal except
// 408 and 429, and Retry-After is kept.
func refusal(answer *http.Response, err error) error {
	if answer == nil {
		return err
	}
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
	err = fmt.Errorf("handshake: %s %s", answer.Status, bytes.TrimSpace(body))
	switch status := answer.StatusCode; {
	case status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500:
		if s, e := strconv.Atoi(answer.Header.Get("Retry-After")); e == nil {
			return &waitError{err, time.Duration(s) * time.Second}
		}
		return err
	default:
		return fmt.Errorf("%w: %w", err, errTerminal)
	}
}

// closing names the end of a session ("1012", "broken"), and says whether to
// come back: after 1012, 4000 to 4499 and a break, but not after other codes.
func closing(err error) (name string, comeBack bool) {
	code := websocket.CloseStatus(err)
	if code == -1 || code == websocket.StatusAbnormalClosure {
		return "broken", true
	}
	// A proxy in between may say 1001 when it goes; it is no fault of ours.
	comeBack = code == websocket.StatusServiceRestart || code == websocket.StatusGoingAway || code >= 4000 && code < 4500
	return strconv.Itoa(int(code)), comeBack
}

// backoff is full jitter: each wait is drawn from zero to a bound that doubles.
type backoff struct{ bound time.Duration }

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
)

// wait draws the next wait. What the server asked for with err comes on top.
func (b *backoff) wait(err error) time.Duration {
	b.bound = min(max(2*b.bound, backoffFirst), backoffMost)
	d := rand.N(b.bound)
	var w *waitError
	if errors.As(err, &w) {
		d += w.after
	}
	return d
}

func (b *backoff) reset() { b.bound = 0 }

// sleep waits, and is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// between draws a wait from a span of milliseconds.
func between(ms [2]int) time.Duration {
	return time.Duration(ms[0]+rand.IntN(max(ms[1]-ms[0], 0)+1)) * time.Millisecond
}
