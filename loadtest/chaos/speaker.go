package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// A speaker is one socket that publishes, one message at a time.
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

// publish says something and returns where it stands.
func (s *speaker) publish(ctx context.Context, room string, data any) (position, error) {
	pos, err := s.command(ctx, map[string]any{"cmd": "publish", "room": room, "data": data})
	if err != nil {
		return position{}, err
	}
	return parsePosition(pos)
}

// command sends one and waits for its answer; pos is what that has of one.
func (s *speaker) command(ctx context.Context, c map[string]any) (pos string, err error) {
	var ok struct{ Pos string }
	err = s.ask(ctx, c, &ok)
	return ok.Pos, err
}

// ask sends a command, and reads what it is answered with.
func (s *speaker) ask(ctx context.Context, c map[string]any, ok any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s.id++
	c["id"] = s.id
	b, err := json.Marshal(c)
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
			OK    json.RawMessage
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
			return json.Unmarshal(f.OK, ok)
		}
	}
}

func (s *speaker) close() { s.ws.CloseNow() }

// sayEverywhere says something in each of so many rooms, and returns where.
func sayEverywhere(ctx context.Context, entrance, base string, rooms int) (map[string]position, error) {
	const each = 100 // rooms of a speaker: a session may be in 128
	var (
		speakers sync.WaitGroup
		mu       sync.Mutex
		said     = make(map[string]position)
		failed   error
	)
	for from := 0; from < rooms; from += each {
		speakers.Go(func() {
			err := sayIn(ctx, entrance, base, from, min(from+each, rooms), func(room string, pos position) {
				mu.Lock()
				defer mu.Unlock()
				said[room] = pos
			})
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	speakers.Wait()
	return said, failed
}

func sayIn(ctx context.Context, entrance, base string, from, to int, said func(string, position)) error {
	sp, err := speak(ctx, entrance, roomName(base, from), "host")
	if err != nil {
		return err
	}
	defer sp.close()
	for i := from; i < to; i++ {
		room := roomName(base, i)
		if i > from {
			if _, err := sp.command(ctx, map[string]any{"cmd": "join", "room": room, "echo": false}); err != nil {
				return fmt.Errorf("join %s: %w", room, err)
			}
		}
		pos, err := sp.publish(ctx, room, i)
		if err != nil {
			return fmt.Errorf("publish in %s: %w", room, err)
		}
		said(room, pos)
	}
	return nil
}
