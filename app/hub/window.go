package hub

import (
	"slices"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// An entry is a publication as every member receives it.
type entry struct {
	pos   chat.Position
	mark  chat.Mark
	frame protocol.Frame // as it was said
	since *revision      // nil: it is as it was said, and changes nothing
}

// A revision is what an entry has that changes another one, or was changed itself.
// It never changes.
type revision struct {
	of      chat.Identity  // what the entry edits or deletes; zero: nothing
	deletes bool           // and does not edit
	change  chat.Change    // what has become of the entry, but for its body; zero: nothing
	latest  protocol.Frame // what is answered since then
}

// What an entry and its revision take beside their frames' bytes.
const (
	entryOverhead    = 80
	revisionOverhead = 256
)

func (e entry) cost() int64 {
	cost := e.frame.Size() + entryOverhead
	if e.since != nil {
		cost += e.since.latest.Size() + revisionOverhead
	}
	return int64(cost)
}

// now is what is answered of the entry.
func (e entry) now() protocol.Frame {
	if e.since == nil || e.since.change.IsZero() {
		return e.frame
	}
	return e.since.latest
}

// isBy says whether the entry is what somebody said; its mark says already that it
// has the key and the time.
func (e entry) isBy(u chat.UserID) bool {
	p, err := protocol.ParseMessage(e.frame)
	return err == nil && p.From == u
}

// A window is the tail of a room's log, oldest first, already encoded. The
// room's lock guards it.
type window struct {
	entries []entry
	bytes   int64
	// older says that something of the log stands before the window.
	older bool
	// changed is when the latest one was said that changes others, in milliseconds.
	changed int64
}

// push adds an entry, lets go of the oldest beyond limit, and returns by how
// many bytes the window grew.
func (w *window) push(e entry, limit int) int64 {
	before := w.bytes
	if n := len(w.entries) - limit + 1; n > 0 {
		w.drop(n)
	}
	w.entries = append(w.entries, e)
	w.bytes += e.cost()
	return w.bytes - before
}

// refer puts what p, the last entry, changes on the entries that it changes, and
// returns by how many bytes the window grew. A deletion is for good, and of the
// edits, too. When a log is healed by several nodes, what changes a message may
// stand before it.
func (w *window) refer(p chat.Publication, about chat.About) (grown int64) {
	before, last := w.bytes, len(w.entries)-1
	id, change, changes := about.Changes(p)
	if !changes {
		for _, e := range w.entries[:last] {
			if e.since != nil && e.since.of == p.Identity() {
				w.change(last, e.changes())
			}
		}
		return w.bytes - before
	}
	w.changed = max(w.changed, p.At.UnixMilli())
	w.entries[last].since = &revision{of: id, deletes: change.Deleted}
	w.bytes += revisionOverhead
	mark := id.Mark()
	for i := range last {
		switch e := w.entries[i]; {
		case e.mark == mark && e.isBy(id.From):
			w.change(i, change)
		case e.since == nil || e.since.of != id:
		case change.Deleted:
			w.change(i, change)
		case e.since.deletes:
			w.change(last, e.changes())
		}
	}
	return w.bytes - before
}

// changes is what the entry, which changes another one, makes of it.
func (e entry) changes() chat.Change {
	p, err := protocol.ParseMessage(e.frame)
	if err != nil {
		return chat.Change{} // never: it was one
	}
	about, _ := chat.ParseAbout(p.About) // as refer did
	_, c, _ := about.Changes(p)
	return c
}

// change makes an entry what a change says, unless it has been deleted.
func (w *window) change(i int, c chat.Change) {
	e := &w.entries[i]
	if e.since != nil && e.since.change.Deleted {
		return
	}
	p, err := protocol.ParseMessage(e.frame)
	if err != nil {
		return // never: it was one
	}
	r := &revision{change: c, latest: protocol.Changed(p, c)}
	r.change.Body = nil
	w.bytes -= e.cost()
	e.since = r
	w.bytes += e.cost()
}

// drop lets go of the n oldest entries and returns how many bytes they took.
// Append moves the rest to a fresh array once the old one is used up, so the
// cost stays constant per push.
func (w *window) drop(n int) int64 {
	n = min(n, len(w.entries))
	if n == 0 {
		return 0
	}
	w.older = true
	var freed int64
	for i, e := range w.entries[:n] {
		freed += e.cost()
		w.entries[i] = entry{}
	}
	w.entries = w.entries[n:]
	w.bytes -= freed
	return freed
}

// cut lets go of what stands behind p and returns how many bytes it took.
func (w *window) cut(p chat.Position) int64 {
	var freed int64
	i := w.after(p)
	for _, e := range w.entries[i:] {
		freed += e.cost()
	}
	w.entries = slices.Delete(w.entries, i, len(w.entries))
	w.bytes -= freed
	return freed
}

// at returns the entry at p, if the window holds it.
func (w *window) at(p chat.Position) (entry, bool) {
	i, ok := slices.BinarySearchFunc(w.entries, p, func(e entry, p chat.Position) int { return e.pos.Compare(p) })
	if !ok {
		return entry{}, false
	}
	return w.entries[i], true
}

// denies says whether p cannot be what was let through: the window holds
// something else, or nothing, where p stands.
func (w *window) denies(p chat.Publication) bool {
	if len(w.entries) == 0 || p.Before(w.entries[0].pos) {
		return false // nobody knows
	}
	e, ok := w.at(p.Position)
	return !ok || e.mark != p.Mark()
}

// clear empties the window and returns how many bytes it took.
func (w *window) clear() int64 {
	freed := w.bytes
	*w = window{}
	return freed
}

// after returns the index of the first entry that follows p.
func (w *window) after(p chat.Position) int {
	i, _ := slices.BinarySearchFunc(w.entries, p, func(e entry, p chat.Position) int {
		if e.pos.Compare(p) <= 0 {
			return -1
		}
		return 1
	})
	return i
}

// since returns everything that follows p up to last, or false when the window
// cannot vouch for that: p is of another epoch, ahead of the log, or too old.
func (w *window) since(p, last chat.Position) ([]entry, bool) {
	if p == last {
		return nil, true
	}
	if p.IsZero() {
		if w.older || len(w.entries) > 0 && w.entries[0].pos.Offset > 0 { // trimmed
			return nil, false
		}
		return w.entries, true
	}
	missed := w.entries[w.after(p):]
	if p.Epoch != last.Epoch || last.Before(p) || uint64(len(missed)) != last.Offset-p.Offset {
		return nil, false
	}
	return missed, true
}

// before returns at most limit entries that stand directly before p (the zero
// Position: the newest), and whether there are more; known is false when the
// log has to be asked.
func (w *window) before(p chat.Position, limit int) (found []entry, more, known bool) {
	end := len(w.entries)
	if !p.IsZero() {
		end, _ = slices.BinarySearchFunc(w.entries, p, func(e entry, p chat.Position) int { return e.pos.Compare(p) })
	}
	if end < limit && w.older {
		return nil, false, false
	}
	begin := max(0, end-limit)
	return w.entries[begin:end], begin > 0 || w.older, true
}
