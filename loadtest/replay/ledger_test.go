package main

import (
	"reflect"
	"testing"
	"time"
)

// story is a room with two readers, in which three messages were said and
// acknowledged; what the readers hear is the test's.
func story() (*ledger, *hearing, *hearing) {
	l := newLedger("lobby")
	a, b := l.reader("a"), l.reader("b")
	a.join(position{}, false)
	b.join(position{}, false)
	for i, key := range []string{"k0", "k1", "k2"} {
		l.say(key, "alice", key, time.Time{})
		l.ack(key, position{7, uint64(i)}, time.Time{})
	}
	return l, a, b
}

func hear(h *hearing, epoch, offset uint64, key string) {
	h.message(position{epoch, offset}, key, "alice", key, time.Time{})
}

func all(h *hearing) {
	hear(h, 7, 0, "k0")
	hear(h, 7, 1, "k1")
	hear(h, 7, 2, "k2")
}

// Ensure that each violation is found, and counted as what it is, and that
// what is declared is not taken for one.
func TestLedgerFinds(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b func(h *hearing)
		want findings
	}{
		{"nothing where all is well", all, all, findings{}},
		{"a loss at the end", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			hear(h, 7, 1, "k1")
		}, findings{Lost: 1}},
		{"a loss of everything at one reader", all, func(*hearing) {}, findings{Lost: 3}},
		{"a hole, and the loss in it", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			hear(h, 7, 2, "k2")
		}, findings{Lost: 1, Holes: 1}},
		{"a hole before the first message", all, func(h *hearing) {
			hear(h, 7, 1, "k1")
			hear(h, 7, 2, "k2")
		}, findings{Lost: 1, Holes: 1}},
		{"a position heard twice", all, func(h *hearing) {
			all(h)
			hear(h, 7, 2, "k2")
		}, findings{Doubled: 1}},
		{"a key heard twice at two positions", all, func(h *hearing) {
			all(h)
			hear(h, 7, 3, "k2")
		}, findings{Doubled: 1, Diverged: 1}}, // and it was not acknowledged there
		{"a message that comes after its successor", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			hear(h, 7, 2, "k2")
			hear(h, 7, 1, "k1")
		}, findings{Disordered: 1, Holes: 1, Lost: 1}},
		{"two orders", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			hear(h, 7, 1, "k2")
			hear(h, 7, 2, "k1")
		}, findings{Diverged: 4, Reordered: 1}}, // two positions, and two acknowledgements
		{"an acknowledgement for another position", func(h *hearing) {
			hear(h, 7, 0, "k0")
			hear(h, 7, 1, "k1")
			hear(h, 7, 2, "x")
			hear(h, 7, 3, "k2")
		}, func(h *hearing) {
			hear(h, 7, 0, "k0")
			hear(h, 7, 1, "k1")
			hear(h, 7, 2, "x")
			hear(h, 7, 3, "k2")
		}, findings{Diverged: 2, Foreign: 2}},
		{"data that was changed", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			h.message(position{7, 1}, "k1", "alice", "other", time.Time{})
			h.message(position{7, 2}, "k2", "mallory", "k2", time.Time{})
		}, findings{Altered: 2}},
		{"an epoch that begins without a word", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			hear(h, 7, 1, "k1")
			hear(h, 8, 0, "k2")
		}, findings{Holes: 1, Diverged: 1}},
		{"a log that goes back without a word", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			hear(h, 7, 1, "k1")
			hear(h, 7, 2, "k2")
			hear(h, 7, 0, "x")
		}, findings{Disordered: 1, Diverged: 1}},
		{"a declared gap as declared, and the loss in it as a loss", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			h.gap(position{7, 2})
			hear(h, 7, 2, "k2")
		}, findings{Lost: 1, Gaps: 1}},
		{"a gap that says less than is missing", all, func(h *hearing) {
			h.gap(position{7, 1})
			hear(h, 7, 2, "k2")
		}, findings{Lost: 2, Gaps: 1, Holes: 1}},
		{"a declared reset that heals, with what comes again", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			hear(h, 7, 1, "k1")
			h.reset(position{9, 0})
			hear(h, 9, 0, "k1")
			hear(h, 9, 1, "k2")
		}, findings{Resets: 1, Repeated: 1}},
		{"a hole after a reset", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			h.reset(position{9, 0})
			hear(h, 9, 1, "k2")
		}, findings{Resets: 1, Holes: 1, Lost: 1}},
		{"nothing in a rejoin that was not recovered but missed nothing", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			h.join(position{7, 2}, false)
			hear(h, 7, 1, "k1")
			hear(h, 7, 2, "k2")
		}, findings{}},
		{"a declared hole after a rejoin that was not recovered", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			h.join(position{7, 2}, false)
			hear(h, 7, 2, "k2")
		}, findings{Lost: 1, Gaps: 1}},
		{"an undeclared hole after a rejoin that claims recovery", all, func(h *hearing) {
			hear(h, 7, 0, "k0")
			h.join(position{7, 2}, true)
			hear(h, 7, 2, "k2")
		}, findings{Lost: 1, Holes: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, a, b := story()
			tt.a(a)
			tt.b(b)
			got := l.close()
			if !equal(got, tt.want) {
				t.Errorf("found %+v, want %+v", got, tt.want)
			}
		})
	}
}

// equal compares the counts.
func equal(a, b findings) bool {
	a.Examples, b.Examples = nil, nil
	return reflect.DeepEqual(a, b)
}

// Ensure that what was said and never answered is told apart from what was
// refused, and that neither counts as lost.
func TestLedgerUnanswered(t *testing.T) {
	l, a, b := story()
	all(a)
	all(b)
	l.say("k3", "alice", "k3", time.Time{})
	l.say("k4", "alice", "k4", time.Time{})
	l.refuse("k4", errTerminal)
	got := l.close()
	if want := (findings{Refused: 1, Unanswered: 1}); !equal(got, want) {
		t.Errorf("found %+v, want %+v", got, want)
	}
	if got.violations() != 2 {
		t.Errorf("violations = %d, want 2", got.violations())
	}
}

// Ensure that missing counts per reader, and shrinks as messages come.
func TestLedgerMissing(t *testing.T) {
	l, a, b := story()
	if got := l.missing(); got != 6 {
		t.Errorf("missing = %d before anything came, want 6", got)
	}
	all(a)
	hear(b, 7, 0, "k0")
	if got := l.missing(); got != 2 {
		t.Errorf("missing = %d, want 2", got)
	}
}

// Ensure that the audit of the log finds what is not kept, kept twice, or kept
// otherwise than acknowledged.
func TestLedgerAudit(t *testing.T) {
	entry := func(epoch, offset uint64, key string) logged {
		return logged{position{epoch, offset}, key, "alice", key}
	}
	for _, tt := range []struct {
		name  string
		reset bool
		log   []logged
		want  findings
	}{
		{"nothing where all is kept", false, []logged{entry(7, 0, "k0"), entry(7, 1, "k1"), entry(7, 2, "k2")}, findings{}},
		{"an empty log", false, nil, findings{NotKept: 3}},
		{"a log without its tail", false, []logged{entry(7, 0, "k0"), entry(7, 1, "k1")}, findings{NotKept: 1}},
		{"a message kept twice", false, []logged{entry(7, 0, "k0"), entry(7, 1, "k1"), entry(7, 2, "k2"), entry(7, 3, "k2")}, findings{Doubled: 1}},
		{"a hole", false, []logged{entry(7, 0, "k0"), entry(7, 2, "k2")}, findings{NotKept: 1, Holes: 1}},
		{
			"another order than was acknowledged", false,
			[]logged{entry(7, 0, "k1"), entry(7, 1, "k0"), entry(7, 2, "k2")},
			findings{Reordered: 1, Diverged: 1},
		},
		{"a healed log that has lost what nobody held", true, []logged{entry(9, 0, "k1"), entry(9, 1, "k2")}, findings{Resets: 1, Trimmed: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, a, b := story()
			all(a)
			all(b)
			if tt.reset {
				a.reset(position{9, 0})
			}
			l.audit(tt.log)
			if got := l.close(); !equal(got, tt.want) {
				t.Errorf("found %+v, want %+v", got, tt.want)
			}
		})
	}
}
