package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A room is its members, the first of which also speak.
type room struct {
	name    string
	members []*member
	said    int64 // owned by the speaking goroutine
}

// slowest is how many messages every member of the room has heard.
func (r *room) slowest() int64 {
	n := r.members[0].heard.Load()
	for _, m := range r.members[1:] {
		n = min(n, m.heard.Load())
	}
	return n
}

// A crowd is all rooms of a run.
type crowd struct {
	shared
	rooms   []*room
	members []*member

	wg   sync.WaitGroup
	mu   sync.Mutex
	lost []error // why connections ended by themselves
	shut bool
}

// join opens the sockets, some at a time, and waits until all have joined.
func join(ctx context.Context, base string, rooms, members int) (*crowd, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := &crowd{}
	run := time.Now().UnixMilli()
	for i := range rooms {
		c.rooms = append(c.rooms, &room{name: fmt.Sprintf("fanout-%x-%d", run, i), members: make([]*member, members)})
	}
	var dialing sync.WaitGroup
	slots := make(chan struct{}, 64)
	var failed error
	for i := range members {
		for _, r := range c.rooms {
			slots <- struct{}{}
			dialing.Go(func() {
				defer func() { <-slots }()
				m, err := dial(ctx, base, r.name, fmt.Sprintf("user%d", i), &c.shared)
				if err == nil {
					err = c.enter(ctx, m)
				}
				if err != nil {
					c.mu.Lock()
					if failed == nil { // what follows is our own cancelling
						failed = err
					}
					c.mu.Unlock()
					cancel()
				}
				r.members[i] = m
			})
		}
	}
	dialing.Wait()
	for _, r := range c.rooms {
		for _, m := range r.members {
			if m != nil {
				c.members = append(c.members, m)
			}
		}
	}
	if failed != nil {
		c.leave()
		return nil, failed
	}
	return c, nil
}

// enter starts a member's reader and waits until the server says joined.
func (c *crowd) enter(ctx context.Context, m *member) error {
	c.wg.Go(func() {
		if err := m.listen(); err != nil {
			c.mu.Lock()
			if !c.shut {
				c.lost = append(c.lost, err)
			}
			c.mu.Unlock()
		}
	})
	select {
	case <-m.joined:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// broken is why a connection ended by itself, if one did.
func (c *crowd) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.lost) == 0 {
		return nil
	}
	return fmt.Errorf("%d connections ended: %w", len(c.lost), c.lost[0])
}

// leave closes all sockets and waits for their readers.
func (c *crowd) leave() {
	c.mu.Lock()
	c.shut = true
	c.mu.Unlock()
	for _, m := range c.members {
		m.conn.Close()
	}
	c.wg.Wait()
}

// heard is how many messages came to all members together.
func (c *crowd) heard() int64 {
	n := int64(0)
	for _, m := range c.members {
		n += m.heard.Load()
	}
	return n
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
