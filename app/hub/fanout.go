package hub

import (
	"slices"
	"time"

	"github.com/chatring/chatring/app/protocol"
)

// An item is a frame for the members of a room.
type item struct {
	frame  protocol.Frame
	events bool      // who comes or goes: only for members that want to know
	not    []*Member // those that do not hear it
}

// A fanout is what a room has to tell its members. It is told in passes: a pass
// sends each member, in one piece, everything that has gathered since the pass
// before. The room's lock guards it.
//
// A pass costs as much for one item as for ten, since most of it is one system
// call a member. So a room rests between the beginnings of two passes, the longer
// the more members it has: an item that comes to a room at rest waits for the
// others that come until the rest is over. In a quiet room, which has rested long
// ago, each goes at once.
type fanout struct {
	items   []item    // told since the last pass began
	spare   []item    // the slots of the last pass's
	told    uint64    // how many have been told in all
	passing bool      // somebody makes passes, or is about to
	rested  time.Time // no pass begins before
}

const (
	// minRest is the least that is worth a timer.
	minRest = time.Millisecond
	// smallRoom is up to how many members are told by whoever brings an item, at
	// once; those of larger rooms by a goroutine, so that nobody waits for it.
	smallRoom = 32
	// stride is to how many members a pass sends before others may have the
	// room's lock.
	stride = 64
	// keepItems is how many slots a room keeps for items between two passes.
	keepItems = 64
)

// tell lets the members hear an item. The lock is held.
func (r *room) tell(n item) {
	r.out.items = append(r.out.items, n)
	r.out.told++
	if !r.out.passing {
		r.beginPasses()
	}
}

// together lets the members hear in one piece what tell tells them. The lock is held.
func (r *room) together(tell func()) {
	if r.out.passing {
		tell()
		return
	}
	r.out.passing = true
	tell()
	if r.out.passing = false; len(r.out.items) > 0 {
		r.beginPasses()
	}
}

// beginPasses sees to it that the members are told what there is to tell. The lock
// is held.
func (r *room) beginPasses() {
	if len(r.members) > smallRoom {
		r.out.passing = true
		r.hub.work.Go(r.passes)
		return
	}
	p := r.beginPass()
	for _, m := range r.members {
		p.send(m)
	}
	r.endPass(p)
}

// passes tells the members what there is to tell, until there is nothing more.
func (r *room) passes() {
	for r.awaitRest() {
		r.mu.Lock()
		if r.out.passing = len(r.out.items) > 0; !r.out.passing {
			r.mu.Unlock()
			return
		}
		p, left := r.beginPass(), len(r.members)
		r.mu.Unlock()
		for left > 0 {
			left = r.advance(&p, left)
		}
		r.mu.Lock()
		r.endPass(p)
		r.mu.Unlock()
	}
}

// awaitRest waits until the next pass may begin, and says whether the hub lives on.
func (r *room) awaitRest() bool {
	r.mu.Lock()
	wait := time.Until(r.out.rested)
	r.mu.Unlock()
	return pause(r.hub.life, wait)
}

// A pass is items on their way to the members.
type pass struct {
	items []item
	first uint64         // the number of the first of them; see fanout.told
	all   protocol.Batch // all of them
	plain protocol.Batch // all but those about who comes and goes
	not   []*Member      // those that do not hear some of them
}

// beginPass takes what there is to tell. The lock is held.
func (r *room) beginPass() pass {
	o := &r.out
	p := pass{items: o.items, first: o.told - uint64(len(o.items))}
	o.items, o.spare = o.spare, nil
	events := false
	for _, n := range p.items {
		events = events || n.events
		p.not = append(p.not, n.not...)
	}
	p.all = p.batch(&Member{events: true})
	if p.plain = p.all; events {
		p.plain = p.batch(&Member{})
	}
	if rest := min(time.Duration(len(r.members))*r.hub.opts.Rest, r.hub.opts.Gather); rest >= minRest {
		o.rested = time.Now().Add(rest)
	}
	return p
}

// batch makes one of what a member is to hear and has not heard yet.
func (p *pass) batch(m *Member) protocol.Batch {
	frames := make([]protocol.Frame, 0, 8)
	for i, n := range p.items {
		if m.heard <= p.first+uint64(i) && (m.events || !n.events) && !slices.Contains(n.not, m) {
			frames = append(frames, n.frame)
		}
	}
	return protocol.Concat(frames)
}

// endPass keeps the pass' slots for what is told next. The lock is held.
func (r *room) endPass(p pass) {
	if cap(p.items) <= keepItems {
		clear(p.items)
		r.out.spare = p.items[:0]
	}
}

// advance sends to the last of the left members that are still to be served, and
// returns how many are left. It goes backwards: when one leaves, the last takes its
// place, and that is one that has been served.
func (r *room) advance(p *pass, left int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	left = min(left, len(r.members))
	for end := max(0, left-stride); left > end; left-- {
		p.send(r.members[left-1])
	}
	return left
}

// send sends to a member, in one piece, what it has not heard yet. The room's lock is
// held.
func (p *pass) send(m *Member) {
	end := p.first + uint64(len(p.items))
	if m.heard >= end { // served already, or joined since
		return
	}
	b := p.plain
	switch {
	case m.heard > p.first || slices.Contains(p.not, m):
		b = p.batch(m)
	case m.events:
		b = p.all
	}
	m.heard = end
	if len(b) > 0 {
		m.to.Send(b)
	}
}
