package friends

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

const (
	// looks is how many users are looked at in one round trip.
	looks = 128
	// lookTimeout is how long one may take.
	lookTimeout = 3 * time.Second
	// lookPause comes before users are looked at again for whom it was too early, or
	// after an error.
	lookPause = 50 * time.Millisecond
	// deathEvery is how often a node looks whether others have died.
	deathEvery = time.Second
)

// A lookout keeps what others know of the users of this node true. What it is told
// are no events that could be lost or pile up, but who is here: it works off the
// difference to what it has told the store. Users of whom that is the same again,
// after a page was loaded anew, are never looked at.
type lookout struct {
	// Static after construction.
	store Store
	node  Bridge
	grace time.Duration
	count *metrics.Friends
	wake  chan struct{} // holds a token while there may be somebody to look at; never closed

	// Owned by follow.
	name string // of this node, under which the store knows those of noted

	// Guarded by mu.
	mu    sync.Mutex
	here  map[chat.UserID]bool      // who is here
	noted map[chat.UserID]bool      // who was here when the store was told
	due   map[chat.UserID]time.Time // in which of both they differ, and from when on to look at them
}

func newLookout(s Store, node Bridge, grace time.Duration, count *metrics.Friends) *lookout {
	return &lookout{
		store: s, node: node, grace: grace, count: count, wake: make(chan struct{}, 1),
		here: make(map[chat.UserID]bool), noted: make(map[chat.UserID]bool), due: make(map[chat.UserID]time.Time),
	}
}

// saw hears that a user is here, or is not any more.
func (l *lookout) saw(u chat.UserID, here bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	set(l.here, u, here)
	l.consider(u)
	l.count.Online.Set(float64(len(l.here)))
}

// consider has a user looked at if need be, and not before it has been gone for a
// while. The lock is held.
func (l *lookout) consider(u chat.UserID) {
	switch {
	case l.here[u] == l.noted[u]:
		delete(l.due, u)
		return
	case l.here[u]:
		l.due[u] = time.Time{}
	default:
		l.due[u] = time.Now().Add(l.grace)
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func set(of map[chat.UserID]bool, u chat.UserID, yes bool) {
	if yes {
		of[u] = true
	} else {
		delete(of, u)
	}
}

// run works until ctx ends.
func (l *lookout) run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { l.follow(ctx) })
	work.Go(func() { l.mourn(ctx) })
	work.Wait()
}

// follow looks at users who come and go, one batch at a time, and at all who are
// here when the node has another name.
func (l *lookout) follow(ctx context.Context) {
	rename := time.NewTicker(deathEvery)
	defer rename.Stop()
	for {
		select {
		case <-l.wake:
		case <-rename.C:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil && l.takeName() {
			batch, early := l.next(time.Now())
			if len(batch) > 0 && l.look(ctx, batch) {
				continue
			}
			if !early && len(batch) == 0 || !sleep(ctx, lookPause) {
				break
			}
		}
	}
}

// takeName makes sure that the node has the name of its connection of now. A node
// whose connection is another one is dead under the name before, and the store
// knows nobody under the new one. It returns false while there is no connection.
func (l *lookout) takeName() bool {
	name := l.node.Channel()
	if name == "" || name == l.name {
		return name != ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name = name
	clear(l.noted)
	clear(l.due)
	for u := range l.here {
		l.consider(u)
	}
	return true
}

// next returns whom to look at, and whether it is too early for others.
func (l *lookout) next(now time.Time) (batch []Sight, early bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for u, at := range l.due {
		switch {
		case at.After(now), !l.here[u] && l.node.Hears(chat.Inbox(u)):
			early = true
		case len(batch) == looks:
			return batch, true
		default:
			batch = append(batch, Sight{u, l.here[u]})
		}
	}
	return batch, early
}

// look tells the store, and says whether it worked.
func (l *lookout) look(ctx context.Context, batch []Sight) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	found, err := l.store.Look(ctx, l.name, batch)
	if err != nil {
		slog.Debug("friends cannot be told who is here", "users", len(batch), "err", err)
		return false
	}
	l.tally(found)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range batch {
		set(l.noted, s.User, s.Here)
		l.consider(s.User) // it may have come or gone meanwhile
	}
	return true
}

func (l *lookout) tally(found []News) {
	for _, n := range found {
		l.count.Announced.Add(float64(n.Told))
		if n.Changed && n.Told == 0 {
			l.count.Unheard.Inc()
		}
	}
}

// mourn looks for dead nodes, and after those of their users who are nowhere else
// after a while: most come back to other nodes at once.
func (l *lookout) mourn(ctx context.Context) {
	for sleep(ctx, deathEvery) {
		dead, err := l.dead(ctx)
		if err != nil {
			slog.Debug("friends cannot see which nodes have died", "err", err)
		}
		if len(dead) == 0 || !sleep(ctx, l.grace) {
			continue
		}
		for _, node := range dead {
			l.takeOver(ctx, node)
		}
	}
}

func (l *lookout) dead(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return l.store.Dead(ctx)
}

// takeOver looks after the users of a dead node, together with all other nodes that
// have seen its death.
func (l *lookout) takeOver(ctx context.Context, node string) {
	took := 0
	defer func() {
		if took > 0 {
			l.count.Deaths.Inc()
			slog.Info("looked after users of a node that is gone", "node", node, "users", took)
		}
	}()
	for ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		found, more, err := l.store.TakeOver(ctx, node)
		cancel()
		if err != nil {
			slog.Debug("a dead node's users are not looked after yet", "node", node, "err", err)
			return // the next look finds the node again
		}
		took += len(found)
		l.tally(found)
		if !more {
			return
		}
	}
}

// sleep waits, and says whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
