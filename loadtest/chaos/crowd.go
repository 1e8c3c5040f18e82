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
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// A crowd is many members that sit in rooms and listen, and come back, at once at
// first, whenever their sockets end. All methods may be called concurrently.
type crowd struct {
	entrance string
	http     *http.Client
	stop     context.CancelFunc
	running  sync.WaitGroup

	// Guarded by mu.
	mu       sync.Mutex
	there    int         // members that have joined, and are connected
	joins    []time.Time // each moment at which one joined
	ended    int         // sockets
	refused  int         // handshakes that were answered otherwise than by a socket
	unhinted int         // of these: that did not say when to come back
	failed   int         // handshakes without an answer
}

// newCrowd sends members to each room. They come in some at a time.
func newCrowd(ctx context.Context, entrance, room string, rooms, members int) *crowd {
	ctx, stop := context.WithCancel(ctx)
	c := &crowd{entrance: entrance, stop: stop, http: &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, DisableKeepAlives: true,
	}}}
	slots := make(chan struct{}, 64)
	for m := range members {
		for r := range rooms {
			c.running.Go(func() {
				c.live(ctx, fmt.Sprintf("%s-%d", room, r), fmt.Sprintf("member%d-%d", r, m), slots)
			})
		}
	}
	return c
}

// leave ends all of them.
func (c *crowd) leave() {
	c.stop()
	c.running.Wait()
}

// live is one member, that never gives up.
func (c *crowd) live(ctx context.Context, room, user string, slots chan struct{}) {
	since, first := "", true
	var bound time.Duration
	for ctx.Err() == nil {
		if first { // the storm is what comes later
			slots <- struct{}{}
		}
		ws, wait, err := c.dial(ctx, room, user, since)
		if first {
			<-slots
			first = false
		}
		if err == nil {
			var told time.Duration
			since, told = c.sit(ctx, ws, since)
			ws.CloseNow()
			bound = 0
			if !sleep(ctx, told) {
				return
			}
			continue
		}
		bound = min(max(2*bound, 100*time.Millisecond), 5*time.Second)
		if !sleep(ctx, wait+rand.N(bound)) {
			return
		}
	}
}

// dial opens a socket, or says how long the answer asks to wait.
func (c *crowd) dial(ctx context.Context, room, user, since string) (*websocket.Conn, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	address := "ws://" + c.entrance + "/ws/chat/" + room + "?user=" + user
	if since != "" {
		address += "&since=" + since
	}
	ws, answer, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: c.http, Subprotocols: []string{"chatring.v1"}})
	if err == nil {
		return ws, 0, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer == nil {
		c.failed++
		return nil, 0, err
	}
	c.refused++
	s, hint := strconv.Atoi(answer.Header.Get("Retry-After"))
	if hint != nil {
		c.unhinted++
	}
	return nil, time.Duration(s) * time.Second, err
}

// sit listens until the socket ends, and returns the last position heard of, and
// how long the node has asked to stay away.
func (c *crowd) sit(ctx context.Context, ws *websocket.Conn, since string) (last string, wait time.Duration) {
	ws.SetReadLimit(1 << 20)
	joined := false
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended++
		if joined {
			c.there--
		}
	}()
	var buf bytes.Buffer
	for {
		_, r, err := ws.Reader(ctx)
		if err == nil {
			buf.Reset()
			_, err = io.Copy(&buf, r)
		}
		if err != nil {
			return since, wait
		}
		var f struct {
			Push, Pos   string
			ReconnectMS [2]int `json:"reconnect_ms"`
		}
		if json.Unmarshal(buf.Bytes(), &f) != nil {
			return since, wait
		}
		switch f.Push {
		case "joined":
			joined = true
			c.mu.Lock()
			c.there++
			c.joins = append(c.joins, time.Now())
			c.mu.Unlock()
			since = f.Pos
		case "message":
			since = f.Pos
		case "drain":
			wait = time.Duration(f.ReconnectMS[0]+rand.IntN(max(1, f.ReconnectMS[1]-f.ReconnectMS[0]))) * time.Millisecond
		}
	}
}

// await waits until so many members are there.
func (c *crowd) await(ctx context.Context, n int) error {
	for c.present() < n {
		if !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("%d of %d members of the crowd are there: %w", c.present(), n, ctx.Err())
		}
	}
	return nil
}

func (c *crowd) present() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.there
}

// refusals are handshakes that were refused, those among them without a hint when to
// come back, and those without any answer.
func (c *crowd) refusals() (refused, unhinted, failed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused, c.unhinted, c.failed
}

// hadEnds is how many sockets have ended.
func (c *crowd) hadEnds() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// joinsSince are the moments of the joins from a moment on.
func (c *crowd) joinsSince(from time.Time) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := slices.BinarySearchFunc(c.joins, from, time.Time.Compare)
	return slices.Clone(c.joins[i:])
}

// mostPerSecond is the highest number of moments within any second.
func mostPerSecond(at []time.Time) (most int) {
	slices.SortFunc(at, time.Time.Compare)
	first := 0
	for i := range at {
		for at[i].Sub(at[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// A speaker is one socket that publishes.
type speaker struct {
	ws *websocket.Conn
	id int
}

// speak opens a socket that can publish in a room.
func speak(ctx context.Context, entrance, room, user string) (*speaker, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+entrance+"/ws/chat/"+room+"?echo=false&user="+user, &websocket.DialOptions{Subprotocols: []string{"chatring.v1"}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", room, err)
	}
	ws.SetReadLimit(1 << 20)
	return &speaker{ws: ws}, nil
}

// publish says something and waits for the answer.
func (s *speaker) publish(ctx context.Context, room string, data any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s.id++
	b, err := json.Marshal(map[string]any{"id": s.id, "cmd": "publish", "room": room, "data": data})
	if err != nil {
		return err
	}
	if err := s.ws.Write(ctx, websocket.MessageText, b); err != nil {
		return err
	}
	for {
		_, b, err := s.ws.Read(ctx)
		if err != nil {
			return err
		}
		var f struct {
			ID    int
			Error *struct{ Code string }
		}
		if err := json.Unmarshal(b, &f); err != nil {
			return err
		}
		switch {
		case f.ID != s.id:
		case f.Error != nil:
			return errors.New(f.Error.Code)
		default:
			return nil
		}
	}
}

func (s *speaker) close() { s.ws.CloseNow() }
