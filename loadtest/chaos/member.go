package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// A position is a place in a room's log.
type position struct{ epoch, offset uint64 }

func parsePosition(s string) (p position, err error) {
	_, err = fmt.Sscanf(s, "%d-%d", &p.epoch, &p.offset)
	return p, err
}

func (p position) String() string { return fmt.Sprintf("%d-%d", p.epoch, p.offset) }

func (p position) before(q position) bool {
	return p.epoch < q.epoch || p.epoch == q.epoch && p.offset < q.offset
}

// A member of a crowd sits in one room and listens. It comes back by position, and
// asks for the history of what was not recovered. Its fields are owned by live, but
// for those of the crowd's lock.
type member struct {
	crowd      *crowd
	room, user string

	once   bool   // it has been in the room
	loose  bool   // the next message may stand anywhere
	paging bool   // history is asked for, up to caught
	late   []push // what is pushed meanwhile
	caught position

	// Written by live, guarded by crowd.mu.
	last position
}

// A push is what a member hears, or the reply to its question.
type push struct {
	Push, Pos, Before string
	Recovered         bool
	Missed            int
	ReconnectMS       [2]int `json:"reconnect_ms"`
	Data              json.RawMessage
	OK                *struct {
		Messages []push
		More     bool
	}
	Error *struct{ Code string }
}

// live is one member, that never gives up.
func (m *member) live(slots chan struct{}) {
	c := m.crowd
	var bound time.Duration
	for first := true; ; first = false {
		sitting := c.enter()
		if sitting == nil {
			return
		}
		if first { // the storm is what comes later
			slots <- struct{}{}
		}
		begun := time.Now()
		ws, wait, err := m.dial(sitting)
		if first {
			<-slots
		}
		switch {
		case err == nil:
			bound = 0
			wait = m.sit(sitting, ws, begun)
		case sitting.Err() != nil:
			continue
		default:
			bound = min(max(2*bound, 100*time.Millisecond), 5*time.Second)
			wait += rand.N(bound)
		}
		if !sleep(c.life, wait) {
			return
		}
	}
}

// enter waits until members may come in. What it returns ends when all sockets are
// cut; it is nil at the crowd's end.
func (c *crowd) enter() context.Context {
	c.mu.Lock()
	gate := c.gate
	c.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-c.life.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		return nil
	}
	return c.sitting
}

// dial opens a socket, or says how long the answer asks to wait.
func (m *member) dial(ctx context.Context) (*websocket.Conn, time.Duration, error) {
	c := m.crowd
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	address := "ws://" + c.entrance + "/ws/chat/" + m.room + "?user=" + m.user
	if m.once {
		address += "&since=" + m.last.String()
	}
	ws, answer, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: c.http, Subprotocols: []string{"chatring.v1"}})
	if err == nil {
		return ws, 0, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case answer != nil:
		c.refused++
		s, none := strconv.Atoi(answer.Header.Get("Retry-After"))
		if none != nil {
			c.unhinted++
		}
		return nil, time.Duration(s) * time.Second, err
	case ctx.Err() == nil || !errors.Is(ctx.Err(), context.Canceled):
		c.failed++
		if c.why == nil {
			c.why = err
		}
	}
	return nil, 0, err
}

// sit listens until the socket ends, and returns how long the node has asked to stay
// away.
func (m *member) sit(ctx context.Context, ws *websocket.Conn, begun time.Time) (wait time.Duration) {
	c := m.crowd
	defer ws.CloseNow()
	ws.SetReadLimit(1 << 20)
	m.paging, m.late = false, nil
	joined := false
	var err error
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended[int(websocket.CloseStatus(err))]++
		if joined {
			c.there--
		}
	}()
	var buf bytes.Buffer
	for {
		c.awake()
		var r io.Reader
		if _, r, err = ws.Reader(ctx); err == nil {
			buf.Reset()
			_, err = io.Copy(&buf, r)
		}
		if err != nil {
			return wait
		}
		var p push
		if err = json.Unmarshal(buf.Bytes(), &p); err != nil {
			return wait
		}
		switch {
		case p.Push == "joined":
			if err = m.join(ctx, ws, p); err != nil {
				return wait
			}
			joined = true
			c.mu.Lock()
			c.there++
			c.joins = append(c.joins, time.Now())
			c.took = append(c.took, milliseconds(time.Since(begun)))
			c.mu.Unlock()
		case p.Push == "drain":
			wait = time.Duration(p.ReconnectMS[0]+rand.IntN(max(1, p.ReconnectMS[1]-p.ReconnectMS[0]))) * time.Millisecond
		case p.Push == "" && m.paging:
			if err = m.page(ctx, ws, p); err != nil {
				return wait
			}
		case m.paging:
			m.late = append(m.late, p)
		default:
			m.hear(p)
		}
	}
}

// awake waits while the crowd is asleep.
func (c *crowd) awake() {
	c.mu.Lock()
	pause := c.pause
	c.mu.Unlock()
	if pause == nil {
		return
	}
	select {
	case <-pause:
	case <-c.life.Done():
	}
}

// join takes the place that the server gives. What was missed and is not recovered
// is asked for, up to that place.
func (m *member) join(ctx context.Context, ws *websocket.Conn, p push) error {
	pos, err := parsePosition(p.Pos)
	if err != nil {
		return err
	}
	if m.once && !p.Recovered && m.last.before(pos) {
		m.paging, m.caught = true, pos
		return m.ask(ctx, ws)
	}
	c := m.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if !m.once {
		m.once, m.last, m.loose = true, pos, pos == position{}
	}
	c.recovered += p.Missed
	return nil
}

func (m *member) ask(ctx context.Context, ws *websocket.Conn) error {
	return ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"id":1,"cmd":"history","room":%q,"after":%q,"limit":256}`, m.room, m.last.String()))
}

// page hears a page of history, and asks for the next one until the place of the
// join is reached.
func (m *member) page(ctx context.Context, ws *websocket.Conn, p push) error {
	if p.OK == nil {
		if p.Error == nil || p.Error.Code != "unavailable" || !sleep(ctx, time.Second) {
			return errors.New("history was refused")
		}
		return m.ask(ctx, ws)
	}
	for _, said := range p.OK.Messages {
		if pos, err := parsePosition(said.Pos); err != nil || m.caught.before(pos) {
			continue // it comes as a push, too
		}
		m.hear(said)
		m.crowd.mu.Lock()
		m.crowd.recovered++
		m.crowd.mu.Unlock()
	}
	if p.OK.More && m.last.before(m.caught) {
		return m.ask(ctx, ws)
	}
	m.paging = false
	for _, said := range m.late {
		m.hear(said)
	}
	m.late = nil
	return nil
}

// hear counts what is missing before a message, or comes again.
func (m *member) hear(p push) {
	c := m.crowd
	at := p.Pos
	if p.Push == "gap" {
		at = p.Before
	}
	pos, err := parsePosition(at)
	if err != nil {
		return // neither a message, nor a gap, nor a reset
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Push != "message" {
		c.declared++
		m.last, m.loose = pos, true
		return
	}
	switch {
	case m.loose || pos.epoch == m.last.epoch && pos.offset == m.last.offset+1:
	case m.last.before(pos):
		c.holes++
	default:
		c.doubled++
		return
	}
	m.last, m.loose = pos, false
	if c.timed {
		if ms, ok := sinceStamp(p.Data); ok && !m.paging {
			c.heard = append(c.heard, ms)
		}
	}
}

// began is what stamps count from.
var began = time.Now()

// stamped is the data of a message that says when it was said, size bytes long.
func stamped(size int) map[string]any {
	return map[string]any{"t": time.Since(began).Nanoseconds(), "p": bytes.Repeat([]byte("x"), size*3/4)}
}

// sinceStamp is how long ago, in milliseconds, something was said.
func sinceStamp(data json.RawMessage) (ms float64, ok bool) {
	var stamp struct{ T int64 }
	if json.Unmarshal(data, &stamp) != nil || stamp.T == 0 {
		return 0, false
	}
	return milliseconds(time.Since(began) - time.Duration(stamp.T)), true
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
