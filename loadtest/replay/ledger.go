package main

import (
	"fmt"
	"sync"
	"time"
)

// A ledger is the checker of one room: what was said, what was acknowledged,
// and what each reader heard. It takes nothing on trust: whatever the server
// says about recovery is ignored, except that a hole or a new epoch that it
// declares (gap, reset, recovered:false) is counted as declared.
// All methods may be called concurrently.
type ledger struct {
	room string

	// Guarded by mu.
	mu      sync.Mutex
	said    []*entry
	byKey   map[string]*entry
	at      map[position]string // the key at each position, as first heard
	readers []*hearing
	found   findings
	first   position // where the readers began; the earliest of them
	begun   bool
	lastAck time.Time
	acks    []time.Duration // said → acknowledged
	heard   []time.Duration // said → delivered, one per reader and message
	due     time.Time       // when the line's turn came that waits for its acknowledgement
	tracing bool
	recent  []delivery // while tracing: since the last beat
}

// An entry is one message of the recording.
type entry struct {
	index      int // place in the recording
	key        string
	from, data string
	at         time.Time // first sent
	again      bool      // sent more than once
	acked      bool
	pos        position // as acknowledged
}

// hearing is what one reader of the room has heard.
type hearing struct {
	l    *ledger
	name string

	// Guarded by l.mu.
	joined bool
	last   position
	// expect, when set, is where the room goes on after a declared gap or reset.
	expect position
	// rejoined is set by a join that was not recovered: the next message may
	// stand further on, which then counts as declared.
	rejoined bool
	heard    []position // by entry index; the zero position when not yet
	newest   int        // highest entry index heard
	resets   int
	whole    int       // all entries below this index were heard
	shard    string    // of the present session
	since    time.Time // when that began
	gone     time.Time // when the last session ended, until the reader is back
}

// findings are counts of what the checker has found. Those above the line are
// violations: each must be 0.
type findings struct {
	Lost       int `json:"lost"`             // acknowledged, and not delivered (per reader)
	Doubled    int `json:"doubled"`          // a position or a key twice at one reader
	Disordered int `json:"out_of_order"`     // a position that is not greater than the last
	Holes      int `json:"undeclared_holes"` // positions or epochs skipped without a word
	Diverged   int `json:"diverged"`         // one position with two messages, or acknowledged elsewhere than heard
	Reordered  int `json:"recording_order"`  // said later, heard earlier
	Altered    int `json:"altered"`          // other sender or data than was sent
	NotKept    int `json:"not_in_log"`       // acknowledged, and not in the room's log at the end
	Refused    int `json:"refused"`          // valid, and answered by an error that is not temporary
	Unanswered int `json:"unanswered"`       // not acknowledged when time was up
	// ---
	Gaps     int `json:"declared_gaps"`
	Resets   int `json:"resets"`
	Repeated int `json:"repeated_after_reset"`   // again under a position of another epoch
	Trimmed  int `json:"not_in_log_after_reset"` // of rooms that were reset: older than what nodes hold to heal with
	Foreign  int `json:"foreign"`                // of somebody else than this program

	Examples []string `json:"examples,omitempty"`
}

func (f findings) violations() int {
	return f.Lost + f.Doubled + f.Disordered + f.Holes + f.Diverged + f.Reordered + f.Altered + f.NotKept + f.Refused + f.Unanswered
}

// maxExamples bounds how many violations are told in words.
const maxExamples = 20

func (f *findings) add(g findings) {
	f.Lost += g.Lost
	f.Doubled += g.Doubled
	f.Disordered += g.Disordered
	f.Holes += g.Holes
	f.Diverged += g.Diverged
	f.Reordered += g.Reordered
	f.Altered += g.Altered
	f.NotKept += g.NotKept
	f.Trimmed += g.Trimmed
	f.Refused += g.Refused
	f.Unanswered += g.Unanswered
	f.Gaps += g.Gaps
	f.Resets += g.Resets
	f.Repeated += g.Repeated
	f.Foreign += g.Foreign
	for _, e := range g.Examples {
		f.example("%s", e)
	}
}

func (f *findings) example(format string, args ...any) {
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

func newLedger(room string) *ledger {
	return &ledger{room: room, byKey: make(map[string]*entry), at: make(map[position]string)}
}

// reader adds a reader, before anything is said.
func (l *ledger) reader(name string) *hearing {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &hearing{l: l, name: name, newest: -1}
	l.readers = append(l.readers, h)
	return h
}

// say notes a message that is about to be sent for the first time.
func (l *ledger) say(key, from, data string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &entry{index: len(l.said), key: key, from: from, data: data, at: at}
	l.said = append(l.said, e)
	l.byKey[key] = e
}

// sayAgain notes that a message is sent again, since its speaker has had no answer.
func (l *ledger) sayAgain(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byKey[key].again = true
}

// ack notes the acknowledgement of a message.
func (l *ledger) ack(key string, pos position, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byKey[key]
	e.acked, e.pos = true, pos
	l.lastAck, l.due = at, time.Time{}
	l.acks = append(l.acks, at.Sub(e.at))
}

// refuse notes that a message was answered by an error that is not temporary.
func (l *ledger) refuse(key string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found.Refused++
	l.due = time.Time{}
	l.found.example("%s: %s was refused: %v", l.room, key, err)
}

// join notes where the server put the reader. Only the first join places it;
// later ones say whether a hole is declared.
func (h *hearing) join(pos position, recovered bool) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if !h.joined {
		h.joined, h.last = true, pos
		if !h.l.begun || pos.before(h.l.first) {
			h.l.begun, h.l.first = true, pos
		}
		return
	}
	h.rejoined, h.gone = !recovered, time.Time{}
}

// position is the last position heard, and whether the reader ever joined.
func (h *hearing) position() (position, bool) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	return h.last, h.joined
}

// gap notes the declared loss of everything between two positions.
func (h *hearing) gap(before position) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.l.found.Gaps++
	h.expect = before
}

// reset notes the declared beginning of an epoch at pos.
func (h *hearing) reset(pos position) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.resets++
	h.l.found.Resets++
	h.expect = pos
}

// message notes a delivery and checks all that one delivery can show.
func (h *hearing) message(pos position, key, from, data string, at time.Time) {
	l := h.l
	l.mu.Lock()
	defer l.mu.Unlock()

	if first, ok := l.at[pos]; !ok {
		l.at[pos] = key
	} else if first != key {
		l.found.Diverged++
		l.found.example("%s: %s is %s at one reader, and %s at %s", l.room, pos, first, key, h.name)
	}

	e := l.byKey[key]
	if !h.place(pos, e) {
		return
	}
	if e == nil {
		l.found.Foreign++
		return
	}
	if e.from != from || e.data != data {
		l.found.Altered++
		l.found.example("%s: %s came to %s as %s %s", l.room, key, h.name, from, data)
	}
	for len(h.heard) <= e.index {
		h.heard = append(h.heard, position{})
	}
	switch earlier := h.heard[e.index]; {
	case earlier == position{}:
		l.heard = append(l.heard, at.Sub(e.at))
		if l.tracing {
			l.recent = append(l.recent, delivery{float64(at.Sub(e.at).Microseconds()) / 1000, h.shard, at.Sub(h.since).Seconds(), e.again})
		}
		if e.index < h.newest {
			l.found.Reordered++
			l.found.example("%s: %s heard line %d after line %d", l.room, h.name, e.index, h.newest)
		}
		h.newest = max(h.newest, e.index)
	case earlier.epoch != pos.epoch:
		l.found.Repeated++ // a healed log says it again under a new position
	default:
		l.found.Doubled++
		l.found.example("%s: %s heard %s at %s and at %s", l.room, h.name, key, earlier, pos)
	}
	h.heard[e.index] = pos
}

// place checks a position against the reader's last one and moves on to it. It
// is false when the position lies behind. l.mu is held.
func (h *hearing) place(pos position, e *entry) bool {
	found := &h.l.found
	if !h.last.before(pos) {
		if e != nil && e.index < len(h.heard) && h.heard[e.index] == pos {
			found.Doubled++
			found.example("%s: %s heard %s twice", h.l.room, h.name, pos)
		} else {
			found.Disordered++
			found.example("%s: %s heard %s after %s", h.l.room, h.name, pos, h.last)
		}
		return false
	}
	declared := h.expect != position{}
	switch {
	case declared && pos == h.expect:
	case !declared && pos.follows(h.last):
	case !declared && h.rejoined && pos.epoch == h.last.epoch:
		found.Gaps++
	case !declared && h.rejoined:
		found.Resets++
		h.resets++
		if pos.offset != 0 {
			found.Gaps++
		}
	default:
		found.Holes++
		found.example("%s: %s heard %s next after %s", h.l.room, h.name, pos, h.last)
	}
	h.last, h.expect, h.rejoined = pos, position{}, false
	return true
}

// begin is where the room's log is to be audited from.
func (l *ledger) begin() position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// audit compares the room's log, as read at the end, with what was
// acknowledged.
func (l *ledger) audit(log []logged) {
	l.mu.Lock()
	defer l.mu.Unlock()
	resets := 0
	for _, h := range l.readers {
		resets += h.resets
	}
	in := make(map[string]bool, len(log))
	newest, last := -1, l.first
	for _, m := range log {
		if !m.pos.follows(last) && (resets == 0 || m.pos.epoch == last.epoch) {
			l.found.Holes++
			l.found.example("%s: the log has %s next after %s", l.room, m.pos, last)
		}
		last = m.pos
		e := l.byKey[m.key]
		switch {
		case e == nil:
			continue
		case in[m.key]:
			l.found.Doubled++
			l.found.example("%s: the log has %s twice", l.room, m.key)
		case e.index < newest:
			l.found.Reordered++
			l.found.example("%s: the log has line %d after line %d", l.room, e.index, newest)
		case e.from != m.from || e.data != m.data:
			l.found.Altered++
			l.found.example("%s: the log has %s as %s %s", l.room, m.key, m.from, m.data)
		case e.acked && e.pos != m.pos && resets == 0:
			l.found.Diverged++
			l.found.example("%s: the log has %s, acknowledged at %s, at %s", l.room, m.key, e.pos, m.pos)
		}
		in[m.key] = true
		newest = max(newest, e.index)
	}
	for _, e := range l.said {
		switch {
		case !e.acked || in[e.key]:
		case resets > 0:
			l.found.Trimmed++
		default:
			l.found.NotKept++
			l.found.example("%s: %s, acknowledged at %s, is not in the log", l.room, e.key, e.pos)
		}
	}
}

// missing counts what was acknowledged and has not come to its readers yet.
func (l *ledger) missing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, h := range l.readers {
		for _, e := range l.said {
			if e.acked && !h.has(e) {
				n++
			}
		}
	}
	return n
}

func (h *hearing) has(e *entry) bool {
	return e.index < len(h.heard) && h.heard[e.index] != position{}
}

// counts are cheap figures for the progress line.
func (l *ledger) counts() (said, acked, delivered int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.said), len(l.acks), len(l.heard)
}

// close checks what only the end can show: losses, unanswered messages, and
// whether each message was heard where it was acknowledged.
func (l *ledger) close() findings {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.found
	f.Examples = append([]string(nil), f.Examples...)
	for _, e := range l.said {
		if !e.acked {
			f.Unanswered++
			continue
		}
		for _, h := range l.readers {
			switch {
			case !h.has(e):
				f.Lost++
				f.example("%s: %s, acknowledged at %s, never came to %s (%d of the recording)", l.room, e.key, e.pos, h.name, e.index)
			case h.heard[e.index] != e.pos && h.resets == 0:
				f.Diverged++
				f.example("%s: %s, acknowledged at %s, came to %s at %s", l.room, e.key, e.pos, h.name, h.heard[e.index])
			}
		}
	}
	f.Unanswered -= l.found.Refused // they have had their answer
	return f
}
