package main

import (
	"context"
	"fmt"
	"time"
)

// A listener is the ear of members who hear our messages: it checks and times
// what comes.
type listener struct {
	idler
	phase *phase

	due        map[uint64]due // by id, of publishes that are not answered
	times      []time.Duration
	ackTimes   []time.Duration
	disordered int64 // positions that do not follow the one before
	errors     int64
}

func newListener(p *phase) listener { return listener{phase: p, due: map[uint64]due{}} }

func (l *listener) message(m *member, n *note) {
	if n.epoch != 0 {
		if m.epoch != 0 && (n.epoch != m.epoch || n.offset != m.offset+1) {
			l.disordered++
		}
		m.epoch, m.offset = n.epoch, n.offset
	}
	if m.sample && l.phase.measuring.Load() {
		l.times = append(l.times, now()-dueIn(n.data))
	}
}

func (l *listener) reply(_ *member, n *note) {
	if n.failed {
		l.errors++
	}
	if at, ok := l.due[n.id]; ok {
		delete(l.due, n.id)
		if l.phase.measuring.Load() {
			l.ackTimes = append(l.ackTimes, now()-at)
		}
	}
}

// listen takes a turn. It fails when connections ended.
func (l *listener) listen(ctx context.Context, loop *loop) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := loop.turn(longTurn); err != nil {
		return err
	}
	return l.failed
}

// await listens for what is under way, for a time at most.
func (l *listener) await(ctx context.Context, loop *loop, over func() bool) error {
	for end := now() + l.phase.settle; !over() && now() < end; {
		if err := l.listen(ctx, loop); err != nil {
			return err
		}
	}
	return nil
}

// missing is how many of our messages have not come to members of their rooms.
func missing(rooms []*room) (n int64) {
	for _, r := range rooms {
		said := int64(0)
		for _, m := range r.members {
			said += int64(m.said)
		}
		for _, m := range r.members {
			n += said - (m.heard - m.order.doubled)
		}
	}
	return n
}

// An audit is what must not be. It counts over the whole run, the warm-up
// included.
type audit struct {
	Missing    int64 `json:"missing"`
	Disordered int64 `json:"out_of_order"`
	Doubled    int64 `json:"doubled"`
	Errors     int64 `json:"error_replies"`
}

// add counts what a listener heard in its rooms.
func (a *audit) add(l *listener, rooms []*room) {
	a.Missing += missing(rooms)
	a.Disordered += l.disordered
	a.Errors += l.errors
	for _, r := range rooms {
		for _, m := range r.members {
			a.Disordered += m.order.late
			a.Doubled += m.order.doubled
		}
	}
}

func (a audit) String() string {
	return fmt.Sprintf("missing %d, out of order %d, doubled %d, error replies %d", a.Missing, a.Disordered, a.Doubled, a.Errors)
}

// err is nil when all is well.
func (a audit) err() error {
	if a == (audit{}) {
		return nil
	}
	return fmt.Errorf("%s", a)
}
