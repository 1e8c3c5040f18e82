package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A crowd is all rooms of a run, dealt out to loops.
type crowd struct {
	rooms []*room
	loops []*loop
	of    map[*loop][]*room
}

// newCrowd makes rooms and their members, whom nobody has dialed yet.
func newCrowd(t *target, rooms, members int) (*crowd, error) {
	c := &crowd{of: map[*loop][]*room{}}
	for range min(rooms, t.threads) {
		l, err := newLoop(t.url, t.wire, t.tokens)
		if err != nil {
			c.end()
			return nil, err
		}
		c.loops = append(c.loops, l)
	}
	run := time.Now().UnixMilli()
	for i := range rooms {
		r := &room{name: fmt.Sprintf("fanout-%x-%05d", run, i)}
		for j := range members {
			r.members = append(r.members, &member{room: r, place: j, user: fmt.Sprintf("user%d", j), fd: -1})
		}
		l := c.loops[i%len(c.loops)]
		c.rooms = append(c.rooms, r)
		c.of[l] = append(c.of[l], r)
	}
	return c, nil
}

// members are all of some rooms, the first of each room first.
func members(rooms []*room) []*member {
	var all []*member
	for i := range rooms[0].members {
		for _, r := range rooms {
			all = append(all, r.members[i])
		}
	}
	return all
}

// start runs something for each loop, each in a goroutine of its own. ctx ends
// with the first of them that fails; wait waits for all, and says why.
func (c *crowd) start(ctx context.Context, do func(context.Context, *loop) error) (running context.Context, wait func() error) {
	running, stop := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	var once sync.Once
	var failed error
	for _, l := range c.loops {
		group.Go(func() {
			if err := do(running, l); err != nil {
				once.Do(func() { failed = err })
				stop(err)
			}
		})
	}
	return running, func() error {
		group.Wait()
		stop(nil)
		return failed
	}
}

// patience bounds what a server may take for all of a step.
func patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("the server was not done after two minutes"))
}

// join opens all sockets, some at a time, and waits until all have joined.
func (c *crowd) join(ctx context.Context) error {
	_, wait := c.start(ctx, func(ctx context.Context, l *loop) error {
		ctx, cancel := patience(ctx)
		defer cancel()
		return l.join(ctx, members(c.of[l]), max(64/len(c.loops), 1))
	})
	return wait()
}

// end closes all sockets.
func (c *crowd) end() {
	for _, l := range c.loops {
		l.end()
	}
}

// deliveries are how many messages came to all members together.
func (c *crowd) deliveries() int64 {
	n := int64(0)
	for _, l := range c.loops {
		n += l.deliveries.Load()
	}
	return n
}

// idle lets members stay for a time.
func (c *crowd) idle(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_, wait := c.start(ctx, func(ctx context.Context, l *loop) error { return l.idle(ctx) })
	return wait()
}

// An idler is an ear that only minds that connections end.
type idler struct{ failed error }

func (i *idler) lost(m *member, err error) {
	if i.failed == nil {
		i.failed = fmt.Errorf("%s in %s: %w", m.user, m.room.name, err)
	}
}

func (*idler) joined(*member, *note)  {}
func (*idler) message(*member, *note) {}
func (*idler) reply(*member, *note)   {}

// A joiner waits for members to join.
type joiner struct {
	idler
	joins int
}

func (j *joiner) joined(m *member, n *note) {
	j.joins++
	m.epoch, m.offset = n.epoch, n.offset
}

// join opens the sockets of members, so many at a time.
func (l *loop) join(ctx context.Context, members []*member, parallel int) error {
	j := &joiner{}
	l.ear = j
	for dialed := 0; j.joins < len(members) && j.failed == nil; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for ; dialed < len(members) && dialed-j.joins < parallel; dialed++ {
			l.dial(members[dialed])
		}
		if err := l.turn(longTurn); err != nil {
			return err
		}
	}
	return j.failed
}

// longTurn is how long a loop may take to notice that it should do something
// else.
const longTurn = 50 * time.Millisecond

// idle takes turns until ctx ends.
func (l *loop) idle(ctx context.Context) error {
	i := &idler{}
	l.ear = i
	for ctx.Err() == nil && i.failed == nil {
		if err := l.turn(longTurn); err != nil {
			return err
		}
	}
	return i.failed
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
