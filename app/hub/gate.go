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
	mark    chat.Mark          // of what was let through there
	heard   chat.Position      // the highest position heard of that the log may have
	witness chat.Position      // the highest position heard of: it proves what the log has lost
	held    []chat.Publication // ahead of a hole, in order; at most maxHeld
	filling bool               // a goroutine is filling the hole, or about to
	recheck bool               // the tail was looked at while the gate was closed

	// A reset that members are yet to be told of; zero: none.
	lost   chat.Position // the last position let through before the log went back
	unsure bool          // members may have missed something from before

	void span // positions that the log has lost, and may have given to others since
}

// A span is what stands behind one position, up to another one.
type span struct{ behind, to chat.Position }

func (s span) has(p chat.Position) bool { return s.behind.Before(p) && !s.to.Before(p) }

const (
	// maxHeld bounds what waits for a hole to be filled; more is read from
	// the log with the hole.
	maxHeld = 256
	// fillBatch is how many publications one read of the log asks for.
	fillBatch = 256
)

// letThrough notes that a position has been let through.
func (g *gate) letThrough(p chat.Position, mark chat.Mark) {
	g.last, g.mark = p, mark
	g.hears(p)
}

// hears notes that a position exists.
func (g *gate) hears(p chat.Position) {
	g.heard = later(g.heard, p)
	g.witness = later(g.witness, p)
}

// beginGate opens the gate behind what the window holds. The lock is held.
func (r *room) beginGate() {
	r.gate.open = true
	if r.gate.recheck {
		r.gate.recheck = false
		r.hub.work.Go(func() { r.hub.recheck([]*room{r}) })
	}
	r.release()
	if r.gate.last.Before(r.gate.heard) {
		r.fillAfter(0)
	}
}

// hear is where every publication arrives. The lock is held.
func (r *room) hear(p chat.Publication) {
	g := &r.gate
	g.hears(p.Position)
	switch next, broken := g.links(p); {
	case r.gone: // nobody is here
	case !g.open:
		g.hold(p)
	case !g.last.Before(p.Position):
		r.hub.count.Dropped.Inc()
		if r.window.denies(p) {
			r.beginHeal()
			g.hold(p)
		}
	case next:
		r.accept(p)
		r.release()
	case broken:
		r.beginHeal()
		g.hold(p)
	default:
		g.hold(p)
		r.fillAfter(r.hub.opts.FillGrace)
	}
}

// links says whether p is what comes next: it names what was let through last as
// the one before it. It is broken when it names something else, which the log
// must have put into the place of what it has lost.
func (g *gate) links(p chat.Publication) (next, broken bool) {
	if !p.Follows(g.last) || !p.Linked {
		return false, false
	}
	return p.Prev == g.mark, p.Prev != g.mark && !g.last.IsZero()
}

func (g *gate) hold(p chat.Publication) {
	i, found := slices.BinarySearchFunc(g.held, p.Position, func(h chat.Publication, p chat.Position) int {
		return h.Compare(p)
	})
	if found && g.held[i].From == p.From && g.held[i].Key == p.Key || len(g.held) >= maxHeld {
		return
	}
	g.held = slices.Insert(g.held, i, p)
}

// release lets through what is held as far as there is no hole. What is behind
// the gate by now has been let through, unless the log has lost it. The lock is
// held.
func (r *room) release() {
	g := &r.gate
	for len(g.held) > 0 {
		p := g.held[0]
		switch next, broken := g.links(p); {
		case next:
			r.accept(p)
		case broken || !g.last.Before(p.Position) && r.window.denies(p):
			r.beginHeal()
			return
		case g.last.Before(p.Position):
			return
		}
		g.held = g.held[1:]
	}
	g.held = nil
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
		if _, err := r.readOn(r.hub.life, after, heard); err != nil {
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
	if r.gone || !r.gate.open || !r.gate.last.Before(r.gate.heard) {
		r.gate.filling = false
		return chat.Position{}, chat.Position{}, false
	}
	return r.gate.last, r.gate.heard, true
}

// readOn reads one batch of the log, lets through what stands behind after,
// and says whether there may be more. Heard is what was heard of before the
// read: what the read does not bring of it is in the log no more.
//
// The read begins with after itself: the log goes on from there only if it
// still has there what was let through.
func (r *room) readOn(ctx context.Context, after, heard chat.Position) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.hub.opts.OpenTimeout)
	defer cancel()
	r.hub.count.Fills.Inc()
	batch, err := r.hub.broker.ReadAfter(ctx, r.id, after.Prev(), fillBatch)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &r.gate
	if r.gone || !g.open {
		return false, nil
	}
	if !r.goesOn(after, batch) {
		r.beginHeal()
		return false, nil
	}
	r.acceptAll(batch)
	if more = len(batch) == fillBatch; !more {
		lost := func(p chat.Publication) bool { return g.last.Before(p.Position) && !heard.Before(p.Position) }
		if slices.ContainsFunc(g.held, lost) {
			r.beginHeal()
			return false, nil
		}
		if g.heard == heard {
			g.heard = g.last
		}
	}
	r.release()
	return more, nil
}

// goesOn says whether the log, read from a position on, goes on behind what
// was let through there. It does so too when it has been trimmed beyond it. The
// lock is held.
func (r *room) goesOn(from chat.Position, log []chat.Publication) bool {
	mine, ok := r.window.at(from)
	switch {
	case !ok: // there is nothing to compare
		return true
	case len(log) == 0:
		return false
	case log[0].Position == from:
		return mine.mark == log[0].Mark()
	}
	return trimmed(from, log)
}

// acceptAll lets through what the log itself says comes next, one after the other,
// and has members hear it in one piece. The lock is held.
func (r *room) acceptAll(log []chat.Publication) {
	r.together(func() {
		for _, p := range log {
			r.accept(p)
		}
	})
}

// accept lets through what the log itself says comes next: a position that
// does not follow is the log's own hole, and is declared. The lock is held.
func (r *room) accept(p chat.Publication) {
	g := &r.gate
	if !g.last.Before(p.Position) {
		return
	}
	newEpoch := !g.last.IsZero() && p.Epoch != g.last.Epoch
	if newEpoch || !g.lost.IsZero() {
		r.hub.count.Resets.Inc()
		r.tell(item{frame: protocol.Reset{Room: r.id, Lost: later(g.lost, g.last).String(), Pos: p.Position.String()}.Frame()})
	}
	switch {
	case g.unsure:
		r.tellGap(chat.Position{}, p.Position)
	case p.Follows(g.last), newEpoch && p.Offset == 0:
	default:
		r.tellGap(g.last, p.Position)
	}
	g.lost, g.unsure = chat.Position{}, false
	r.deliver(p)
}

// tellGap declares that something between two positions is not in the log. The
// lock is held.
func (r *room) tellGap(after, before chat.Position) {
	r.hub.count.Gaps.Inc()
	r.tell(item{frame: protocol.Gap{Room: r.id, After: after.String(), Before: before.String()}.Frame()})
}

// arrive notes that a join begins, and returns its number.
func (r *room) arrive() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrivals++
	r.expected++
	return r.arrivals
}

func (r *room) arrived() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.arrivals
}

// catchUp reads the log for a client that has seen more than this node, which
// has missed something, or the log has lost it. All who come at once share one
// read; what counts for a join is one that began after it.
func (r *room) catchUp(ctx context.Context, seen chat.Position, arrival uint64) {
	for {
		done := r.look(seen, arrival)
		if done == nil {
			return
		}
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// look begins to read the log, unless that is under way, and returns what is
// closed at the end of it; nil when there is no need to.
func (r *room) look(seen chat.Position, arrival uint64) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gate.last.Before(seen) || r.looked >= arrival {
		return nil
	}
	if r.looking == nil {
		done, arrivals := make(chan struct{}), r.arrivals
		r.looking = done
		r.hub.work.Go(func() {
			defer close(done)
			r.readToEnd(r.hub.life)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.looking, r.looked = nil, arrivals
		})
	}
	return r.looking
}

// readToEnd reads the log on from where the gate stands.
func (r *room) readToEnd(ctx context.Context) {
	for more := true; more; {
		r.mu.Lock()
		after, heard := r.gate.last, r.gate.heard
		r.mu.Unlock()
		var err error
		if more, err = r.readOn(ctx, after, heard); err != nil {
			slog.Debug("could not catch up", "room", r.id, "err", err)
			return
		}
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
