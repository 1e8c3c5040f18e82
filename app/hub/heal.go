package hub

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A log can come back older than what this node has let through: Redis was
// restored from a snapshot, or failed over to a replica that was behind. What
// the node still has in its window is then appended again, under the same
// keys, in a new epoch, and members are told by a reset.
//
// Nodes that hold the same room may heal it at once: the keys see to it that
// each publication is restored once.

// spoiled is a position above all that an epoch can have. As a witness it says
// that the epoch must not go on. Redis' scripts count in doubles.
func spoiled(epoch uint64) chat.Position {
	return chat.Position{Epoch: epoch, Offset: 1<<53 - 1}
}

// beginHeal closes the gate and heals the log, unless that is under way. The
// lock is held.
func (r *room) beginHeal() {
	g := &r.gate
	if r.gone || r.healed != nil {
		return
	}
	g.open = false
	g.witness = later(g.witness, spoiled(g.last.Epoch))
	r.healed = make(chan struct{})
	r.hub.count.Healing.Inc()
	r.hub.work.Go(r.heal)
}

// healers is how many logs a node heals at once: each takes as much memory as
// two windows and one read of the log.
const healers = 16

// heal tries until it has healed the log, and opens the gate again.
func (r *room) heal() {
	defer r.hub.count.Healing.Dec()
	backoff := 50 * time.Millisecond
	for n := 0; ; n++ {
		restored, err := r.tryHeal(r.hub.life)
		if err == nil {
			slog.Warn("a log had lost its tail, and is healed", "room", r.id, "restored", restored)
			if tell := r.hub.opts.Healed; tell != nil {
				tell(r.id, restored)
			}
			return
		}
		if n%30 == 0 {
			slog.Warn("a log has lost its tail, and is not healed yet", "room", r.id, "err", err)
		}
		if !pause(r.hub.life, backoff) {
			return
		}
		backoff = min(2*backoff, time.Second)
	}
}

// tryHeal restores what the log has lost until the log has it all, and then
// lets through what it has beyond what members have seen.
func (r *room) tryHeal(ctx context.Context) (restored int, err error) {
	select {
	case r.hub.healing <- struct{}{}: // for this try: logs that cannot be healed do not keep others from it
		defer func() { <-r.hub.healing }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	r.mu.Lock()
	g := &r.gate
	mine, held, last, witness := slices.Clone(r.window.entries), slices.Clone(g.held), g.last, g.witness
	r.mu.Unlock()
	answers := make(map[chat.Identity]chat.Position) // what restoring has answered
	for {
		t, err := r.readTail(ctx, mine, held, last)
		if err != nil {
			return restored, err
		}
		lost, common := compare(mine, held, t)
		if r.expired(lost) {
			lost = nil
		}
		done := true
		for _, p := range lost {
			before, tried := answers[p.Identity()]
			if tried && before.IsZero() {
				continue
			}
			again, err := r.restore(ctx, p, witness)
			switch {
			case errors.Is(err, chat.ErrConflict):
				slog.Warn("publication not restored: its sender has used the key again", "room", r.id, "position", p.String())
			case err != nil:
				return restored, err
			case again == before: // only its key is there: it was trimmed, or taken out by hand
				again = chat.Position{}
			default:
				done = false
				restored++
				r.hub.count.Restored.Inc()
			}
			answers[p.Identity()] = again
		}
		if done {
			return restored, r.goOn(ctx, mine, held, t, common)
		}
	}
}

// expired says whether the log was let go because nobody has spoken for so long.
func (r *room) expired(lost []chat.Publication) bool {
	return !slices.ContainsFunc(lost, func(p chat.Publication) bool {
		return time.Since(p.At) <= r.hub.opts.RetentionAge
	})
}

// restore appends a publication again and returns its new position, which may
// be an old one if its key is known.
func (r *room) restore(ctx context.Context, p chat.Publication, witness chat.Position) (chat.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, r.hub.opts.OpenTimeout)
	defer cancel()
	again, err := r.hub.broker.Restore(ctx, p, witness)
	return again.Position, err
}

// goOn opens the gate at the end of what the window and the log have in common.
func (r *room) goOn(ctx context.Context, mine []entry, held []chat.Publication, t tail, common chat.Publication) error {
	r.mu.Lock()
	last := r.gate.last
	r.mu.Unlock()
	if common.Position.IsZero() && !last.IsZero() {
		var err error
		if common, err = r.lastBefore(ctx, mine, last); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.healed)
	r.healed = nil
	r.heals++
	if r.gone {
		return nil
	}
	g := &r.gate
	g.lost, g.void = later(g.lost, g.last), span{common.Position, g.last}
	g.last, g.mark = common.Position, 0
	if !g.last.IsZero() {
		g.mark = common.Mark()
		// The log may have something from before the window, and nobody can
		// say whether members have seen all of it.
		_, known := r.window.at(g.last)
		g.unsure = g.unsure || !known
		r.window.older = r.window.older || !known
	}
	r.hub.windowBytes.Add(-r.window.cut(g.last))
	r.acceptAll(t.begin)
	g.hears(t.end)
	g.held = slices.DeleteFunc(g.held, func(p chat.Publication) bool {
		return slices.ContainsFunc(held, func(q chat.Publication) bool { return p.Position == q.Position })
	})
	r.beginGate() //nolint:contextcheck // what it starts ends with the hub, as ctx does
	r.startLinger()
	return nil
}

// A tail is what a heal has to know of a log, which may be much longer than a
// window: other nodes may have gone on with it for long.
type tail struct {
	begin []chat.Publication     // where the window begins; at most a window and one read
	there map[chat.Identity]bool // which of the publications looked for it has, anywhere
	end   chat.Position
}

// readTail reads the log from where the window begins, or behind what was let
// through last when the window is empty.
func (r *room) readTail(ctx context.Context, mine []entry, held []chat.Publication, last chat.Position) (tail, error) {
	t := tail{there: make(map[chat.Identity]bool)}
	for _, e := range mine {
		if p, err := protocol.ParseMessage(e.frame); err == nil {
			t.there[p.Identity()] = false
		}
	}
	for _, p := range held {
		t.there[p.Identity()] = false
	}
	t.end = last
	if len(mine) > 0 {
		t.end = mine[0].pos.Prev()
	}
	for {
		batch, err := r.readBatch(ctx, t.end)
		if err != nil {
			return tail{}, err
		}
		t.add(batch, len(mine))
		if len(batch) < fillBatch {
			return t, nil
		}
	}
}

func (r *room) readBatch(ctx context.Context, after chat.Position) ([]chat.Publication, error) {
	ctx, cancel := context.WithTimeout(ctx, r.hub.opts.OpenTimeout)
	defer cancel()
	return r.hub.broker.ReadAfter(ctx, r.id, after, fillBatch)
}

// add takes in what comes next in the log, and keeps it while that is shorter
// than the window.
func (t *tail) add(batch []chat.Publication, window int) {
	if len(t.begin) <= window {
		t.begin = append(t.begin, batch...)
	}
	for _, p := range batch {
		if _, wanted := t.there[p.Identity()]; wanted {
			t.there[p.Identity()] = true
		}
		t.end = p.Position
	}
}

// lastBefore returns what the log has last before the window (up to what was let
// through last when the window is empty), or the zero Publication.
func (r *room) lastBefore(ctx context.Context, mine []entry, last chat.Position) (chat.Publication, error) {
	begin := chat.Position{Epoch: last.Epoch, Offset: last.Offset + 1}
	if len(mine) > 0 {
		begin = mine[0].pos
	}
	ctx, cancel := context.WithTimeout(ctx, r.hub.opts.OpenTimeout)
	defer cancel()
	before, err := r.hub.broker.ReadBefore(ctx, r.id, begin, 1)
	if err != nil || len(before) == 0 {
		return chat.Publication{}, err
	}
	return before[0], nil
}

// compare holds a window, and what a gate holds ahead of a hole, against the
// log that was read from the window's beginning on. It returns what the log has
// lost, and the last publication up to which window and log are the same (zero:
// none). What the log has trimmed is not lost.
func compare(mine []entry, held []chat.Publication, t tail) (lost []chat.Publication, common chat.Publication) {
	at := make(map[chat.Position]chat.Publication, len(t.begin))
	for _, p := range t.begin {
		at[p.Position] = p
	}
	parted := false
	for _, e := range mine {
		if trimmed(e.pos, t.begin) {
			continue
		}
		if p, ok := at[e.pos]; ok && e.mark == p.Mark() && !parted {
			common = p
			continue
		}
		parted = true
		p, err := protocol.ParseMessage(e.frame)
		if err != nil {
			slog.Error("publication cannot be restored", "position", e.pos.String(), "err", err)
			continue
		}
		if !t.there[p.Identity()] {
			lost = append(lost, p)
		}
	}
	for _, p := range held {
		if !t.there[p.Identity()] {
			lost = append(lost, p)
		}
	}
	return lost, common
}

// trimmed says whether a log that was read from p or earlier on has let go of
// its beginning, with p: it begins in the middle of an epoch.
func trimmed(p chat.Position, log []chat.Publication) bool {
	return len(log) > 0 && p.Before(log[0].Position) && log[0].Offset > 0
}

func later(p, q chat.Position) chat.Position {
	if p.Before(q) {
		return q
	}
	return p
}
