package hooks

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sony/gobreaker/v2"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// AuthorizerOptions say what is asked, and where.
type AuthorizerOptions struct {
	// ConnectURL, JoinURL and PublishURL are asked before a socket is opened, a
	// room joined, a message published. Empty: not asked, and allowed.
	ConnectURL, JoinURL, PublishURL string
	// Timeout is how long one question may take, the wait for its turn included.
	Timeout time.Duration
	// Concurrency is how many questions of each kind may be under way at once.
	Concurrency int
	// AllowOnFailure is the answer when the application gives none.
	AllowOnFailure bool
	// MaxData is how many bytes may be put in the place of what was said.
	MaxData int
	// SecretFile holds the secrets that sign the questions.
	SecretFile string
	// Transport carries the questions; nil: TCP.
	Transport http.RoundTripper
}

// An Authorizer asks the application whether it allows what tokens allow
// already. Errors of its methods are of type *protocol.Error, for the client:
// forbidden with the application's message, or unavailable when the application
// gave no answer and that does not mean yes. Nothing is asked twice. All methods
// may be called concurrently.
type Authorizer struct {
	connect, join, publish *asker // nil: not asked
}

// NewAuthorizer builds an authorizer. Its errors are those of settings.
func NewAuthorizer(o AuthorizerOptions, count *metrics.Hooks) (*Authorizer, error) {
	s, err := openSecrets(o.SecretFile)
	if err != nil {
		return nil, err
	}
	return &Authorizer{
		connect: newAsker("connect", o.ConnectURL, s, o, count),
		join:    newAsker("join", o.JoinURL, s, o, count),
		publish: newAsker("publish", o.PublishURL, s, o, count),
	}, nil
}

// A question is what the application is asked.
type question struct {
	Event   string          `json:"event"`
	User    chat.UserID     `json:"user"`
	Session string          `json:"session,omitempty"`
	Address string          `json:"address,omitempty"`
	Room    chat.RoomID     `json:"room,omitempty"`
	Watch   bool            `json:"watch,omitempty"`
	Key     string          `json:"key,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// AuthorizeConnect asks whether somebody may open a socket. Room is that of its
// address, and address where the client is.
func (a *Authorizer) AuthorizeConnect(ctx context.Context, user chat.UserID, room chat.RoomID, watch bool, address string) error {
	if a.connect == nil {
		return nil
	}
	_, err := a.connect.ask(ctx, question{User: user, Room: room, Watch: watch, Address: address})
	return err
}

// AuthorizeJoin asks whether somebody may join a room. Session is empty when
// the room is that of a socket's address, since there is no session yet.
func (a *Authorizer) AuthorizeJoin(ctx context.Context, user chat.UserID, session string, room chat.RoomID, watch bool) error {
	if a.join == nil {
		return nil
	}
	_, err := a.join.ask(ctx, question{User: user, Session: session, Room: room, Watch: watch})
	return err
}

// AuthorizePublish asks whether a draft may be published, and returns the body
// to publish: the draft's, or what the application puts in its place.
func (a *Authorizer) AuthorizePublish(ctx context.Context, d chat.Draft, session string) ([]byte, error) {
	if a.publish == nil {
		return d.Body, nil
	}
	data, err := a.publish.ask(ctx, question{User: d.From, Session: session, Room: d.Room, Key: d.Key, Data: d.Body})
	if err != nil || data == nil {
		return d.Body, err
	}
	return data, nil
}

// An asker puts questions of one kind to one address. When those fail, its
// breaker opens, and for a while nothing is asked.
type asker struct {
	// Static after construction.
	event   string
	url     string
	timeout time.Duration
	allow   bool
	most    int // bytes of data
	client  *http.Client
	secrets *secrets
	breaker *gobreaker.CircuitBreaker[answer]
	turns   chan struct{} // holds a token for each question that is under way
	count   *metrics.Hooks
}

// When a breaker opens, and for how long: then one question finds out whether
// it closes.
const (
	tripAfter   = 5                // failures in a row
	tripOf      = 20               // or half of so many questions or more
	tripWithin  = 10 * time.Second // within so long
	stayTripped = 5 * time.Second
)

func newAsker(event, url string, s *secrets, o AuthorizerOptions, count *metrics.Hooks) *asker {
	if url == "" {
		return nil
	}
	state := count.Breaker.WithLabelValues(event)
	state.Set(0)
	return &asker{
		event: event, url: url, timeout: o.Timeout, allow: o.AllowOnFailure, most: o.MaxData, secrets: s,
		client: newClient(o.Transport, o.Concurrency), turns: make(chan struct{}, o.Concurrency),
		count: count,
		breaker: gobreaker.NewCircuitBreaker[answer](gobreaker.Settings{
			Interval: tripWithin, BucketPeriod: time.Second, Timeout: stayTripped,
			ReadyToTrip: func(c gobreaker.Counts) bool {
				return c.ConsecutiveFailures >= tripAfter || c.Requests >= tripOf && c.TotalFailures >= c.Requests/2
			},
			// An answer that is none may be due to what was asked, and nobody is to close
			// the door to others by asking it.
			IsSuccessful: func(err error) bool {
				return err == nil || errors.Is(err, errAnswer) && !errors.Is(err, errAway)
			},
			IsExcluded: func(err error) bool { return errors.Is(err, errGivenUp) },
			OnStateChange: func(_ string, _, to gobreaker.State) {
				state.Set(map[gobreaker.State]float64{gobreaker.StateHalfOpen: 1, gobreaker.StateOpen: 2}[to])
				slog.Warn("the breaker of a hook has changed", "hook", event, "state", to.String())
			},
		}),
	}
}

// An answer is the application's.
type answer struct {
	Allow   *bool           `json:"allow"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

var (
	errBusy    = errors.New("too many questions at once")
	errTimeout = errors.New("no answer in time")
	errAway    = errors.New("the application is away")
	errGivenUp = errors.New("the asker has given up") // what failed is not the application
)

// ask returns nil when the application allows q, and what it puts in the place
// of its data, if anything.
func (a *asker) ask(ctx context.Context, q question) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, a.timeout, errTimeout)
	defer cancel()
	got, err := a.inTurn(ctx, q)
	a.count.Requests.WithLabelValues(a.event, outcome(got, err)).Inc()
	if err != nil {
		slog.Debug("the application has not answered", "hook", a.event, "err", err)
		if a.allow {
			return nil, nil
		}
		return nil, &protocol.Error{Code: protocol.Unavailable, Message: "the application does not answer: try again", Temporary: true, RetryAfterMS: 1000}
	}
	if !*got.Allow {
		return nil, &protocol.Error{Code: protocol.Forbidden, Message: forClient(got.Message)}
	}
	return got.Data, nil
}

// inTurn asks when fewer questions than may be are under way.
func (a *asker) inTurn(ctx context.Context, q question) (answer, error) {
	select {
	case a.turns <- struct{}{}:
	case <-ctx.Done():
		return answer{}, errBusy
	}
	defer func() { <-a.turns }()
	if ctx.Err() != nil { // the turn came in the last moment
		return answer{}, errBusy
	}
	return a.breaker.Execute(func() (answer, error) {
		begun := time.Now()
		got, err := a.post(ctx, q)
		a.count.Duration.WithLabelValues(a.event).Observe(time.Since(begun).Seconds())
		if err != nil && ctx.Err() != nil {
			if cause := context.Cause(ctx); !errors.Is(cause, errTimeout) {
				return got, fmt.Errorf("%w: %w", errGivenUp, cause)
			}
			err = errTimeout
		}
		return got, err
	})
}

// outcome is what the metric calls an answer.
func outcome(got answer, err error) string {
	switch {
	case err == nil && *got.Allow:
		return "allowed"
	case err == nil:
		return "denied"
	case errors.Is(err, errBusy):
		return "busy"
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return "breaker_open"
	case errors.Is(err, errTimeout):
		return "timeout"
	case errors.Is(err, errGivenUp):
		return "given_up"
	case errors.Is(err, errAnswer):
		return "bad_answer"
	}
	return "failed"
}

// post sends one question and reads its answer.
func (a *asker) post(ctx context.Context, q question) (answer, error) {
	q.Event = a.event
	body, err := marshal(q)
	if err != nil {
		return answer{}, err
	}
	resp, err := send(ctx, a.client, a.url, a.secrets, "ask_"+rand.Text(), body)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	switch {
	case isAway(resp.StatusCode):
		return answer{}, fmt.Errorf("%w: %w: %s", errAnswer, errAway, resp.Status)
	case resp.StatusCode != http.StatusOK:
		return answer{}, fmt.Errorf("%w: %s", errAnswer, resp.Status)
	}
	b, err := readAnswer(resp.Body)
	if err != nil {
		return answer{}, err
	}
	return a.parse(b)
}

func (a *asker) parse(b []byte) (answer, error) {
	var got answer
	if !utf8.Valid(b) {
		return got, fmt.Errorf("%w: not UTF-8", errAnswer)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return got, fmt.Errorf("%w: %w", errAnswer, err)
	}
	if got.Allow == nil {
		return got, fmt.Errorf(`%w: "allow" is missing`, errAnswer)
	}
	if len(got.Data) == 0 || string(got.Data) == "null" { // what many programs write for nothing
		got.Data = nil
		return got, nil
	}
	data, bad := protocol.ParseData(got.Data)
	if bad != nil || len(data) > a.most {
		return got, fmt.Errorf(`%w: "data" is more than a client may say`, errAnswer)
	}
	got.Data = data
	return got, nil
}

// marshal writes JSON that leaves the characters of what it contains alone.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// forClient is as much of the application's message as a client is shown.
func forClient(message string) string {
	message = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return -1
	}, message))
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	if message == "" {
		return "the application does not allow this"
	}
	return message
}
