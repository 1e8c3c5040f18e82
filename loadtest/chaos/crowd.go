package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A crowd is many members that sit in rooms and listen, and come back, at once at
// first, whenever their sockets end. It counts what they miss. All methods may be
// called concurrently.
type crowd struct {
	// Static after construction.
	entrance string
	http     *http.Client
	life     context.Context
	stop     context.CancelFunc
	members  []*member

	running sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	gate    chan struct{} // closed when members may come in; nil: they may
	sitting context.Context
	rise    context.CancelFunc // ends all sockets
	pause   chan struct{}      // closed when members may read on; nil: they may
	there   int                // members that have joined, and are connected
	joins   []time.Time        // each moment at which one joined
	took    []float64          // milliseconds from the dial to the join, of those joins
	tolls
}

// tolls are what a crowd has met with.
type tolls struct {
	ended     map[int]int // sockets, by close code; -1: without one
	refused   int         // handshakes that were answered otherwise than by a socket
	unhinted  int         // of these: that did not say when to come back
	failed    int         // handshakes without an answer
	why       error       // the first of them had none
	recovered int         // messages that were said while a member was away
	declared  int         // gaps and resets
	holes     int         // positions that a member was not told of
	doubled   int         // positions that it was told of again
	heard     []float64   // milliseconds from what was said to what was heard, where it is timed
	timed     bool
}

// newCrowd is members of each of so many rooms, who come in some at a time. control,
// if set, is called with each of their sockets.
func newCrowd(ctx context.Context, entrance, room string, rooms, members int, control func(network, address string, c syscall.RawConn) error) *crowd {
	c := &crowd{entrance: entrance, http: &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 10 * time.Second, Control: control}).DialContext, DisableKeepAlives: true,
	}}}
	c.ended = make(map[int]int)
	c.life, c.stop = context.WithCancel(ctx)
	c.sitting, c.rise = context.WithCancel(c.life)
	slots := make(chan struct{}, 64)
	for i := range members {
		for r := range rooms {
			m := &member{crowd: c, room: roomName(room, r), user: fmt.Sprintf("member%d-%d", r, i)}
			c.members = append(c.members, m)
			c.running.Go(func() { m.live(slots) })
		}
	}
	return c
}

func roomName(base string, i int) string { return fmt.Sprintf("%s-%d", base, i) }

// leave ends all of them.
func (c *crowd) leave() {
	c.stop()
	c.running.Wait()
}

// cut ends all sockets without a goodbye. Nobody comes back before release.
func (c *crowd) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rise()
	c.sitting, c.rise = context.WithCancel(c.life)
	c.gate = make(chan struct{})
}

// release lets all of them back in at the same moment.
func (c *crowd) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.gate)
	c.gate = nil
}

// sleep has all of them read nothing any more, until wake.
func (c *crowd) sleep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pause = make(chan struct{})
}

func (c *crowd) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pause != nil {
		close(c.pause)
		c.pause = nil
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

// empty waits until nobody is there.
func (c *crowd) empty(ctx context.Context) error {
	for c.present() > 0 {
		if !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("%d members of the crowd are still there: %w", c.present(), ctx.Err())
		}
	}
	return nil
}

func (c *crowd) present() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.there
}

// met is what the crowd has met with so far.
func (c *crowd) met() tolls {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tolls
	t.heard, t.ended = slices.Clone(t.heard), maps.Clone(t.ended)
	return t
}

// wrongs says which promises to its members were broken.
func (t tolls) wrongs(of string) (broken []string) {
	for _, zero := range []struct {
		n    int
		what string
	}{{t.holes, "undeclared holes"}, {t.doubled, "doubled"}, {t.unhinted, "refused and not told when to come back"}} {
		if zero.n != 0 {
			broken = append(broken, fmt.Sprintf("%s: %d %s", of, zero.n, zero.what))
		}
	}
	return broken
}

// time begins to time deliveries.
func (c *crowd) time() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timed = true
}

// joinsSince are the moments of the joins from a moment on.
func (c *crowd) joinsSince(from time.Time) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := slices.BinarySearchFunc(c.joins, from, time.Time.Compare)
	return slices.Clone(c.joins[i:])
}

// tookSince is how long these joins took, in milliseconds.
func (c *crowd) tookSince(from time.Time) []float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, _ := slices.BinarySearchFunc(c.joins, from, time.Time.Compare)
	return slices.Clone(c.took[i:])
}

// behind is how many members have not heard the last thing that was said in their
// rooms.
func (c *crowd) behind(last map[string]position) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.last.before(last[m.room]) {
			n++
		}
	}
	return n
}

// caughtUp waits until nobody is behind, and says how many still are when ctx ends
// first.
func (c *crowd) caughtUp(ctx context.Context, last map[string]position) (behind int) {
	for {
		if behind = c.behind(last); behind == 0 || !sleep(ctx, 20*time.Millisecond) {
			return behind
		}
	}
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

// smallBuffer makes a socket that takes little of what it does not read.
func smallBuffer(_, _ string, raw syscall.RawConn) error {
	var err error
	return errors.Join(raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	}), err)
}
