package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Speech is what was said over sockets, and what came of it. All methods may be
// called concurrently.
type speech struct {
	Said         int            `json:"said"`
	Acknowledged int            `json:"acknowledged"`
	RateLimited  int            `json:"rate_limited"`
	Unavailable  int            `json:"unavailable"`
	Unanswered   int            `json:"unanswered"`
	Other        map[string]int `json:"other_errors,omitempty"`
	Closed       int            `json:"sockets_closed"`
	Delivered    int            `json:"delivered"` // of measured rooms
	Lost         int            `json:"lost"`
	Disorder     int            `json:"doubled_or_out_of_order"`

	mu sync.Mutex // guards all
}

func (s *speech) note(what func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what()
}

// A frame is what a socket hears, as far as it matters here.
type frame struct {
	ID    int             `json:"id"`
	Push  string          `json:"push"`
	Data  json.RawMessage `json:"data"`
	Error *struct {
		Code string `json:"code"`
	} `json:"error"`
}

// A socket is one member of a room. One goroutine hears.
type socket struct {
	c      *client
	ws     *websocket.Conn
	speech *speech
	heard  func(frame)   // messages
	done   chan struct{} // closed when the socket has ended

	// Guarded by speech.mu.
	ended   bool
	open    int // messages that wait for their replies
	leaving bool
}

func (c *client) dial(ctx context.Context, from *http.Client, room, user string, echo bool) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	address := fmt.Sprintf("%s/ws/chat/%s?user=%s&echo=%t", strings.Replace(c.url, "http", "ws", 1), room, user, echo)
	ws, resp, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: from, Subprotocols: []string{"chatring.v1"}})
	if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		_ = resp.Body.Close()
		return nil, resp, nil
	}
	return ws, resp, err
}

// enter opens a member's socket, which must succeed, and hears until its end.
func (c *client) enter(ctx context.Context, room, user string, echo bool, s *speech, heard func(frame)) (*socket, error) {
	ws, resp, err := c.dial(ctx, c.from.sockets, room, user, echo)
	if err != nil {
		return nil, err
	}
	if ws == nil {
		return nil, fmt.Errorf("a socket for %s: %s", room, resp.Status)
	}
	ws.SetReadLimit(1 << 20)
	k := &socket{c: c, ws: ws, speech: s, heard: heard, done: make(chan struct{})}
	joined := make(chan struct{})
	go k.hear(joined)
	select {
	case <-joined:
		return k, nil
	case <-k.done:
		return nil, fmt.Errorf("a socket for %s was closed", room)
	case <-time.After(c.patience):
		return nil, fmt.Errorf("a socket for %s never joined", room)
	}
}

func (k *socket) hear(joined chan struct{}) {
	defer close(k.done)
	for {
		_, b, err := k.ws.Read(context.Background())
		var f frame
		if err == nil {
			err = json.Unmarshal(b, &f)
		}
		if err != nil {
			k.speech.note(func() {
				if !k.leaving {
					k.speech.Closed++
				}
				k.speech.Unanswered += k.open
				k.open, k.ended = 0, true
			})
			return
		}
		switch f.Push {
		case "joined":
			close(joined)
		case "message":
			k.heard(f)
		case "":
			k.answered(f)
		}
	}
}

// answered counts a reply.
func (k *socket) answered(f frame) {
	s := k.speech
	s.note(func() {
		switch {
		case f.Error == nil:
			s.Acknowledged++
		case f.Error.Code == "rate_limited":
			s.RateLimited++
		case f.Error.Code == "unavailable":
			s.Unavailable++
		default:
			if s.Other == nil {
				s.Other = make(map[string]int)
			}
			s.Other[f.Error.Code]++
		}
		k.open--
	})
}

// say sends a message.
func (k *socket) say(room string, id int, data string) {
	k.speech.note(func() {
		k.speech.Said++
		if k.ended {
			k.speech.Unanswered++
		} else {
			k.open++
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), k.c.patience)
	defer cancel()
	// A socket that has ended says so where it is heard.
	_ = k.ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"id":%d,"cmd":"publish","room":%q,"data":%s}`, id, room, data))
}

// answers waits until all that was said has been answered, or the socket ended.
func (k *socket) answers() {
	for late := time.Now().Add(k.c.patience); time.Now().Before(late); time.Sleep(5 * time.Millisecond) { // between two looks
		waiting := 0
		k.speech.note(func() { waiting = k.open })
		if waiting == 0 {
			return
		}
	}
}

// leave closes the socket once all that was said has been answered.
func (k *socket) leave() {
	k.answers()
	k.speech.note(func() { k.leaving = true })
	_ = k.ws.CloseNow()
	<-k.done
}

func (c *client) room(i int) string { return fmt.Sprintf("isolation-%s-%d", c.run, i) }

// floodSockets opens sockets, ten to a room, of which each says more than it may;
// others come and go beside them.
func (c *client) floodSockets(ctx context.Context, s *speech, shakes *answers) (*flood, error) {
	f := newFlood(ctx)
	for i := range c.sockets {
		room := c.room(1000 + i/10)
		k, err := c.enter(ctx, room, fmt.Sprintf("flood-%d", i), false, s, func(frame) {})
		if err != nil {
			f.end()
			return nil, err
		}
		f.work.Go(func() {
			n := 0
			every(f.ctx, c.says, forever, func(time.Time) {
				n++
				k.say(room, n, `"a flood of messages, each of them short"`)
			})
			k.leave()
		})
	}
	f.work.Go(func() {
		var coming sync.WaitGroup
		free := make(chan struct{}, atOnce)
		every(f.ctx, c.shakes, forever, func(time.Time) {
			select {
			case free <- struct{}{}:
			case <-f.ctx.Done():
				return
			}
			coming.Go(func() {
				defer func() { <-free }()
				ws, resp, err := c.dial(context.WithoutCancel(ctx), c.from.sockets, c.room(2000), "guest", false)
				shakes.count(resp, err)
				if ws != nil {
					_ = ws.Close(websocket.StatusNormalClosure, "")
				}
			})
		})
		coming.Wait()
	})
	return f, nil
}
