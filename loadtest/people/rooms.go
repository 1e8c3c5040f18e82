package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// roomsFigures is what rooms found.
type roomsFigures struct {
	At     time.Time `json:"at"`
	Rooms  int       `json:"rooms"`
	Users  int       `json:"users"`
	Asked  int       `json:"asked"`
	Bytes  int       `json:"answer_bytes"`
	Answer latency   `json:"answer_ms"`
	cost
}

// rooms measures the list of a user's rooms.
func rooms(ctx context.Context, args []string, out io.Writer) error {
	f, t := flags("rooms", out)
	kept := f.Int("rooms", 200, "rooms that each user keeps")
	users := f.Int("users", 8, "users")
	asked := f.Int("asked", 50, "how often each one asks, one question after the other")
	if err := t.parse(f, args, kept, users, asked); err != nil {
		return err
	}
	r := &roomsFigures{At: time.Now(), Rooms: *kept, Users: *users, Asked: *users * *asked}
	readers, err := t.keep(ctx, *kept, *users)
	defer func() {
		for _, p := range readers {
			if p != nil {
				_ = p.socket.CloseNow()
			}
		}
	}()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var times []time.Duration
	r.cost, err = t.measure(func() error {
		return each(ctx, *users, func(ctx context.Context, i int) error {
			for range *asked {
				begun := time.Now()
				answer, err := readers[i].ask(ctx, "rooms", fmt.Sprintf(`"limit":%d`, *kept))
				if err != nil {
					return err
				}
				took := time.Since(begun)
				var list struct {
					Rooms []struct {
						Unread int `json:"unread"`
					} `json:"rooms"`
				}
				if err := json.Unmarshal(answer, &list); err != nil {
					return fmt.Errorf("the answer to rooms: %w", err)
				}
				if len(list.Rooms) != *kept || list.Rooms[0].Unread != 1 {
					return fmt.Errorf("%.200s is no list of %d rooms with one unread message each", answer, *kept)
				}
				mu.Lock()
				times = append(times, took)
				r.Bytes = len(answer)
				mu.Unlock()
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	r.Answer = latencyOf(times)
	r.print(out)
	return write(t.file, r)
}

// keep makes rooms of two messages each, the first of which every user has read.
func (t *target) keep(ctx context.Context, kept, users int) ([]*person, error) {
	run := fmt.Sprintf("%x", time.Now().UnixNano())
	first := make([]string, kept)
	err := each(ctx, kept, func(ctx context.Context, i int) error {
		for n := range 2 {
			var answer struct {
				Pos string `json:"pos"`
			}
			path := fmt.Sprintf("/api/rooms/kept-%s-%d/messages", run, i)
			if err := (service{t}).post(ctx, path, map[string]any{"key": fmt.Sprint(n), "data": "hello"}, &answer); err != nil {
				return err
			}
			if n == 0 {
				first[i] = answer.Pos
			}
		}
		return nil
	})
	readers := make([]*person, users)
	if err != nil {
		return readers, err
	}
	return readers, each(ctx, users, func(ctx context.Context, u int) (err error) {
		if readers[u], err = t.enter(ctx, "/ws/inbox", fmt.Sprintf("keeper-%s-%d", run, u), nil); err != nil {
			return err
		}
		for i, pos := range first {
			if _, err := readers[u].ask(ctx, "read", fmt.Sprintf(`"room":"kept-%s-%d","pos":%q`, run, i, pos)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *roomsFigures) print(out io.Writer) {
	fmt.Fprintf(out, "load                   %d users with %d rooms each; %d questions in %.1f s, answers of %d bytes\n", r.Users, r.Rooms, r.Asked, r.Seconds, r.Bytes)
	fmt.Fprintf(out, "question → answer      %v\n", r.Answer)
	r.cost.print(out, r.Asked, "answer")
}
