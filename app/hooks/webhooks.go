package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

// What an application may be told.
const (
	RoomOccupied     = "room_occupied"
	RoomVacated      = "room_vacated"
	UserOnline       = "user_online"
	UserOffline      = "user_offline"
	MessagePublished = "message_published"
)

// EventOf says what it means that somebody is in a room, or nobody any more.
func EventOf(room chat.RoomID, occupied bool) string {
	switch _, inbox := room.Owner(); {
	case inbox && occupied:
		return UserOnline
	case inbox:
		return UserOffline
	case occupied:
		return RoomOccupied
	}
	return RoomVacated
}

// ErrHopeless says that an event will never be delivered, and is to be set aside.
var ErrHopeless = errors.New("not delivered")

const (
	webhookTimeout = 5 * time.Second
	giveUpAfter    = 24 * time.Hour // since the event
	maxRefusals    = 12             // answers that are none of 2xx, of one event
	maxPause       = 30 * time.Second

	// HandleWithin is how long Webhooks.Handle takes, at the most.
	HandleWithin = webhookTimeout + time.Second
)

// WebhookOptions say who is told.
type WebhookOptions struct {
	URL        string
	SecretFile string
	// Concurrency is how many events may be under way at once.
	Concurrency int
	// Events are the types that the application wants to be told of.
	Events []string
	// Transport carries them; nil: TCP.
	Transport http.RoundTripper
}

// Webhooks tell the application what has happened: each event is one request,
// whose webhook-id stays the same however often it is sent.
//
// An application that does not answer, or answers 429, 502, 503 or 504, is away:
// one event at a time finds out whether it is back, after pauses that grow. Any
// other answer but 2xx is about the event: it alone comes again, after pauses of
// its own, and is hopeless after twelve answers. An event is hopeless as well
// when it is a day old.
//
// All methods may be called concurrently.
type Webhooks struct {
	// Static after construction.
	url     string
	events  []string
	client  *http.Client
	secrets *secrets
	count   *metrics.Hooks
	door    door

	// Guarded by mu.
	mu      sync.Mutex
	refused map[string]*refusals // by the event's id
}

// NewWebhooks builds webhooks. Its errors are those of settings.
func NewWebhooks(o WebhookOptions, count *metrics.Hooks) (*Webhooks, error) {
	s, err := openSecrets(o.SecretFile)
	if err != nil {
		return nil, err
	}
	w := &Webhooks{
		url: o.URL, events: o.Events, client: newClient(o.Transport, o.Concurrency), secrets: s, count: count,
		refused: make(map[string]*refusals),
	}
	w.door.pauses = newPauses()
	return w, nil
}

// newPauses makes pauses of any length up to a bound that doubles: 1 s, 2 s, …,
// one minute.
func newPauses() *backoff.ExponentialBackOff {
	p := &backoff.ExponentialBackOff{InitialInterval: 500 * time.Millisecond, RandomizationFactor: 1, Multiplier: 2, MaxInterval: maxPause}
	p.Reset()
	return p
}

// Lanes names what an event must stay in order with: its room, or its user.
func Lanes(event map[string]string) []string { return []string{event["room"]} }

// Handle tells the application of an event, once. It returns nil when the
// application has taken it, or does not want to know it, an error that wraps chat.ErrUnavailable when it is to
// come again, and one that wraps ErrHopeless when there is no use in that.
//
// The id is that of a Redis Stream. Fields of an event are type and room; at, in
// milliseconds, if it did not happen when it was added; and of a message pos, from,
// key, about and body.
func (w *Webhooks) Handle(ctx context.Context, id string, event map[string]string) error {
	if !slices.Contains(w.events, event["type"]) {
		return nil
	}
	added, err := timeOf(id)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHopeless, err)
	}
	body, err := encode(event, added)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHopeless, err)
	}
	if time.Since(added) > giveUpAfter {
		w.settle(id)
		return fmt.Errorf("%w within %v", ErrHopeless, giveUpAfter)
	}
	if !w.due(id) {
		return fmt.Errorf("%w: it is not this event's time", chat.ErrUnavailable)
	}
	first, ok := w.door.enter()
	if !ok {
		return fmt.Errorf("%w: the application is away", chat.ErrUnavailable)
	}
	status, wait, err := w.post(ctx, "evt_"+id, body)
	away := err != nil || isAway(status)
	w.door.leave(first, away, wait)
	switch {
	case err != nil:
		w.count.Webhooks.WithLabelValues("away").Inc()
		return fmt.Errorf("%w: the application is away: %w", chat.ErrUnavailable, err)
	case away:
		w.count.Webhooks.WithLabelValues("away").Inc()
		return fmt.Errorf("%w: the application is away: it answers %d", chat.ErrUnavailable, status)
	case status/100 != 2:
		w.count.Webhooks.WithLabelValues("refused").Inc()
		return w.refuse(id, status)
	}
	w.count.Webhooks.WithLabelValues("delivered").Inc()
	w.settle(id)
	return nil
}

func isAway(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// post sends an event, and returns the answer's status and for how long it asks
// not to be sent more.
func (w *Webhooks) post(ctx context.Context, id string, body []byte) (status int, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	begun := time.Now()
	defer func() { w.count.Duration.WithLabelValues("webhook").Observe(time.Since(begun).Seconds()) }()
	resp, err := send(ctx, w.client, w.url, w.secrets, id, body)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	// What it says is nobody's concern; read to its end, its connection is kept.
	_, _ = readAnswer(resp.Body)
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		wait = time.Duration(min(seconds, 60)) * time.Second
	}
	return resp.StatusCode, wait, nil
}

// A door is closed while the application is away: then one event at a time may
// find out whether it is back.
type door struct {
	mu      sync.Mutex
	pauses  *backoff.ExponentialBackOff
	until   time.Time // zero: open
	knocked bool      // somebody finds out
}

// enter says whether to go on; first: to find out whether the application is back.
func (d *door) enter() (first, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until.IsZero() {
		return false, true
	}
	if d.knocked || time.Now().Before(d.until) {
		return false, false
	}
	d.knocked = true
	return true, true
}

// leave says what whoever entered has found, and for how long the application
// asks to be left alone.
func (d *door) leave(first, away bool, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if first {
		d.knocked = false
	}
	switch {
	case !away:
		d.until = time.Time{}
		d.pauses.Reset()
	case first || d.until.IsZero(): // of many that fail together one counts
		d.until = time.Now().Add(max(wait, d.pauses.NextBackOff()))
	}
}

// Refusals are the answers that were about one event.
type refusals struct {
	n      int
	pauses *backoff.ExponentialBackOff
	next   time.Time
}

// maxRefused is how many events may have refusals: more than are under way at
// once, since others may go on with them.
const maxRefused = 10_000

// due says whether an event's pause is over.
func (w *Webhooks) due(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.refused[id]
	return r == nil || !time.Now().Before(r.next)
}

func (w *Webhooks) settle(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.refused, id)
}

// refuse notes that the application does not take an event.
func (w *Webhooks) refuse(id string, status int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.refused[id]
	if r == nil {
		if len(w.refused) >= maxRefused { // other nodes have them
			clear(w.refused)
		}
		r = &refusals{pauses: newPauses()}
		w.refused[id] = r
	}
	if r.n++; r.n >= maxRefusals {
		delete(w.refused, id)
		return fmt.Errorf("%w: answered with %d, %d times", ErrHopeless, status, r.n)
	}
	r.next = time.Now().Add(r.pauses.NextBackOff())
	return fmt.Errorf("%w: answered with %d", chat.ErrUnavailable, status)
}

// An occurrence is the body of a request.
type occurrence struct {
	Type      string `json:"type"`
	Timestamp string `json:"timestamp"`
	Data      any    `json:"data"`
}

// A message is what a member would hear of a publication.
type message struct {
	Room  chat.RoomID     `json:"room"`
	Pos   string          `json:"pos"`
	From  chat.UserID     `json:"from"`
	Key   string          `json:"key"`
	About json.RawMessage `json:"about,omitempty"`
	Data  json.RawMessage `json:"data"`
}

// timeOf is the time of an ID of a stream: the milliseconds that it begins with.
func timeOf(id string) (time.Time, error) {
	millis, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(millis, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time", id)
	}
	return time.UnixMilli(n).UTC(), nil
}

// encode returns an event as it is sent. It happened when it was added, unless it
// says when.
func encode(event map[string]string, at time.Time) (body []byte, err error) {
	if said := event["at"]; said != "" {
		if at, err = timeOf(said); err != nil {
			return nil, err
		}
	}
	room := chat.RoomID(event["room"])
	var data any
	switch event["type"] {
	case RoomOccupied, RoomVacated:
		data = map[string]any{"room": room}
	case UserOnline, UserOffline:
		user, ok := room.Owner()
		if !ok {
			return nil, fmt.Errorf("an event of no user: %q", room)
		}
		data = map[string]any{"user": user}
	case MessagePublished:
		data = message{room, event["pos"], chat.UserID(event["from"]), event["key"], json.RawMessage(event["about"]), json.RawMessage(event["body"])}
	default:
		return nil, fmt.Errorf("no event: %q", event["type"])
	}
	return marshal(occurrence{event["type"], at.Format("2006-01-02T15:04:05.000Z07:00"), data})
}
