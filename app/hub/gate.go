package hub

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A gate lets each position of a room through once and in order, whatever the
// bridge and the answers to the node's own appends bring, and in whichever
// order: behind it, drop; next, deliver; ahead, hold, and read the log if the
// hole stays. The room's lock guards it.
type gate struct {
	open    bool
	last    chat.Position      // the last position let through
	heard   chat.Position      // the highest position heard of
	held    []chat.Publication // ahead of a hole, in order; at most maxHeld
	filling bool               // a goroutine is filling the hole, or about to
}

const (
	// maxHeld bounds what waits for a hole to be filled; more is read from
	// the log with the hole.
	maxHeld = 256
	// fillBatch is how many publications one read of the log asks for.
	fillBatch = 256
)

// pass notes that a position has been let through.
func (g *gate) pass(p chat.Position) {
	g.last = p
	if g.heard.Before(p) {
		g.heard = p
	}
}

// beginGate opens the gate behind what the window holds. The lock is held.
func (r *room) beginGate() {
	r.gate.open = true
	r.release()
	if r.gate.last.Before(r.gate.heard) {
		r.fillAfter(0)
	}
}

// hear is where every publication arrives. The lock is held.
func (r *room) hear(p chat.Publication) {
	g := &r.gate
	if g.heard.Before(p.Position) {
		g.heard = p.Position
	}
	switch {
	case r.gone: // nobody is here
	case !g.open:
		g.hold(p)
	case !g.last.Before(p.Position):
		r.hub.count.Dropped.Inc()
	case p.Follows(g.last):
		r.deliver(p)
		r.release()
	default:
		g.hold(p)
		r.fillAfter(r.hub.opts.FillGrace)
	}
}

func (g *gate) hold(p chat.Publication) {
	i, found := slices.BinarySearchFunc(g.held, p.Position, func(h chat.Publication, p chat.Position) int {
		return h.Compare(p)
	})
	if found || len(g.held) >= maxHeld {
		return
	}
	g.held = slices.Insert(g.held, i, p)
}

// release delivers what is held as far as there is no hole. The lock is held.
func (r *room) release() {
	g := &r.gate
	n := 0
	for _, p := range g.held {
		if p.Follows(g.last) {
			r.deliver(p)
		} else if g.last.Before(p.Position) {
			break
		}
		n++
	}
	g.held = slices.Delete(g.held, 0, n)
	if len(g.held) == 0 {
		g.held = nil
	}
}

// fillAfter sees to it that the log is read soon, unless that is under way.
// The lock is held.
func (r *room) fillAfter(grace time.Duration) {
	if r.gate.filling {
		return
	}
	r.gate.filling = true
	r.hub.work.Go(func() {
		if pause(r.hub.life, grace) {
			r.fill()
		}
	})
}

// fill reads the log until the gate has caught up with what was heard of.
func (r *room) fill() {
	backoff := 50 * time.Millisecond
	for {
		after, heard, ok := r.hole()
		if !ok {
			return
		}
		if err := r.readOn(r.hub.life, after, heard); err != nil {
			slog.Warn("hole not filled yet", "room", r.id, "after", after.String(), "err", err)
			if !pause(r.hub.life, backoff) {
				return
			}
			backoff = min(2*backoff, time.Second)
		}
	}
}

// hole returns what is missing, or false, and ends the filling, when nothing is.
func (r *room) hole() (after, heard chat.Position, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone || !r.gate.last.Before(r.gate.heard) {
		r.gate.filling = false
		return chat.Position{}, chat.Position{}, false
	}
	return r.gate.last, r.gate.heard, true
}

// readOn reads one batch of the log behind after and lets it through. Heard is
// what was heard of before the read: what the read does not bring of it is in
// the log no more.
func (r *room) readOn(ctx context.Context, after, heard chat.Position) error {
	ctx, cancel := context.WithTimeout(ctx, r.hub.opts.OpenTimeout)
	defer cancel()
	r.hub.count.Fills.Inc()
	batch, err := r.hub.broker.ReadAfter(ctx, r.id, after, fillBatch)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range batch {
		r.accept(p)
	}
	if len(batch) < fillBatch {
		g := &r.gate
		g.held = slices.DeleteFunc(g.held, func(p chat.Publication) bool { return !heard.Before(p.Position) })
		if g.heard == heard {
			g.heard = g.last
		}
	}
	r.release()
	return nil
}

// accept lets through what the log itself says comes next: a position that
// does not follow is the log's own hole, and is declared. The lock is held.
func (r *room) accept(p chat.Publication) {
	g := &r.gate
	if !g.last.Before(p.Position) {
		return
	}
	switch {
	case p.Follows(g.last):
	case !g.last.IsZero() && p.Epoch != g.last.Epoch:
		r.hub.count.Resets.Inc()
		r.tell(protocol.Reset{Room: r.id, Lost: g.last.String(), Pos: p.Position.String()}.Frame())
		if p.Offset > 0 {
			r.tellGap(p.Position)
		}
	default:
		r.tellGap(p.Position)
	}
	r.deliver(p)
}

// tellGap declares that what stands before p is not in the log. The lock is held.
func (r *room) tellGap(p chat.Position) {
	r.hub.count.Gaps.Inc()
	r.tell(protocol.Gap{Room: r.id, After: r.gate.last.String(), Before: p.String()}.Frame())
}

// isBehind says whether a client has seen more than this node: the node has
// missed something, or the log has lost it.
func (r *room) isBehind(p chat.Position) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gate.last.Before(p)
}

// catchUp reads the log once, as far as the node is behind it.
func (r *room) catchUp(ctx context.Context) {
	r.mu.Lock()
	after, heard := r.gate.last, r.gate.heard
	r.mu.Unlock()
	if err := r.readOn(ctx, after, heard); err != nil {
		slog.Debug("could not catch up", "room", r.id, "err", err)
	}
}

// pause waits, and says whether it waited to the end.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
