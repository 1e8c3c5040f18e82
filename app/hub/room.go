package hub

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A room is what this node holds of one room.
type room struct {
	// Static after construction.
	hub   *Hub
	id    chat.RoomID
	inbox bool          // a user's own
	ready chan struct{} // closed once the room is open, or cannot be

	err error // why it cannot be; set before ready is closed

	// Guarded by mu.
	mu       sync.Mutex
	members  []*Member
	watchers int // members that only listen
	muted    int // members that do not hear themselves
	used     time.Time
	window   window
	gate     gate
	out      fanout
	healed   chan struct{} // closed once the log is healed; nil unless that is under way
	heals    int           // how often it has been
	watching bool          // an append was given up, and may still land
	lingers  *list.Element // its place among the hub's empty rooms; nil or stale unless it is empty
	expected int           // joins under way, and its opening: for them the room stays
	about    protocol.Description
	gone     bool // taken out of the hub

	// Guarded by mu, too: see catchUp.
	arrivals uint64        // joins that have begun
	looked   uint64        // up to which of them the log has been read since
	looking  chan struct{} // closed once the read that is under way ends; nil: none is
}

func newRoom(h *Hub, id chat.RoomID) *room {
	_, inbox := id.Owner()
	return &room{hub: h, id: id, inbox: inbox, ready: make(chan struct{}), used: time.Now(), expected: 1}
}

// open makes this node hear the room, then reads the window, then lets through
// what came in between.
func (r *room) open() {
	ctx, cancel := context.WithTimeout(r.hub.life, r.hub.opts.OpenTimeout)
	defer cancel()
	defer close(r.ready)
	arrivals := r.arrived()
	tail, about, err := r.rehydrate(ctx)
	if err != nil {
		r.err = err // the broker says of which room
		r.hub.mu.Lock()
		defer r.hub.mu.Unlock()
		r.hub.drop(r, func() bool { return false })
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = arrivals
	r.about = protocol.ParseDescription(about.Body) // what the tail says of it comes behind that
	for _, p := range tail {
		r.keep(p, protocol.Message(p))
	}
	r.beginGate()
	r.expected--
	r.startLinger()
}

func (r *room) rehydrate(ctx context.Context) (tail []chat.Publication, about chat.Change, err error) {
	if err := r.hub.broker.Open(ctx, r.id); err != nil {
		return nil, about, err
	}
	tail, err = r.hub.broker.ReadBefore(ctx, r.id, chat.Position{}, r.hub.opts.Window+1) // one more tells whether there are older ones
	if err == nil && len(tail) > 0 && !r.inbox {
		about, err = r.hub.broker.Description(ctx, r.id)
	}
	return tail, about, err
}

// wait returns when the room is open, or with the reason why it is not.
func (r *room) wait(ctx context.Context) error {
	select {
	case <-r.ready:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("%w: room is still opening", chat.ErrUnavailable)
	}
}

// admit waits until the room is open, and adds a member. It returns nil when the
// room was closed.
func (r *room) admit(ctx context.Context, j Join) (*Member, error) {
	n := r.arrive()
	defer r.settle()
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	if j.Since != nil {
		r.catchUp(ctx, *j.Since, n)
	}
	return r.join(j), nil
}

// settle notes that a join has ended, one way or the other.
func (r *room) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected--
	r.startLinger()
}

// join adds a member at an exact point of the log. It returns nil when the
// room was closed.
func (r *room) join(j Join) *Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return nil
	}
	r.stopLinger()
	r.used = time.Now()
	m := &Member{
		room: r, to: j.Receiver, user: j.User, at: len(r.members), joinedAt: r.gate.last,
		mute: j.Mute, events: j.Members, watch: j.Watch, unseen: j.Unseen, every: j.SignalEvery, heard: r.out.told,
	}
	joined := protocol.Joined{Room: r.id, Pos: r.gate.last.String(), Title: r.about.Title, Topic: r.about.Topic}
	var missed []entry
	if j.Since != nil {
		if !r.gate.void.has(*j.Since) {
			missed, joined.Recovered = r.window.since(*j.Since, r.gate.last)
		}
		joined.Missed = len(missed)
		r.hub.count.Recovered.WithLabelValues(yesNo(joined.Recovered)).Inc()
	}
	if len(missed) == 0 {
		m.to.Send(joined.Frame().Batch())
	} else {
		m.to.Recover(recovery(joined, missed))
	}
	r.members = append(r.members, m)
	r.hub.count.Members.Inc()
	if m.at == 0 {
		r.occupied(true)
	}
	if m.watch {
		r.watchers++
	}
	if m.mute {
		r.muted++
	}
	r.announce(m, protocol.MemberJoin)
	return m
}

// recovery is what somebody hears who has missed something.
func recovery(joined protocol.Joined, missed []entry) []protocol.Batch {
	batches := append(make([]protocol.Batch, 0, 1+len(missed)), joined.Frame().Batch())
	for _, e := range missed {
		batches = append(batches, e.now().Batch())
	}
	return batches
}

// leave takes a member out.
func (r *room) leave(m *Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.at < 0 {
		return
	}
	last := len(r.members) - 1
	r.members[m.at] = r.members[last]
	r.members[m.at].at = m.at
	r.members[last] = nil
	r.members = r.members[:last]
	m.at = -1
	r.hub.count.Members.Dec()
	if m.watch {
		r.watchers--
	}
	if m.mute {
		r.muted--
	}
	r.announce(m, protocol.MemberLeave)
	if last == 0 {
		r.members = nil
		r.occupied(false)
		r.startLinger()
	}
}

// occupied tells whoever minds. The lock is held.
func (r *room) occupied(yes bool) {
	if tell := r.hub.opts.Occupied; tell != nil {
		tell(r.id, yes)
	}
}

// startLinger gives an empty room its last moments. The lock is held.
func (r *room) startLinger() {
	if len(r.members) > 0 || r.expected > 0 || r.gone {
		return
	}
	r.stopLinger()
	if r.inbox {
		r.lingers = r.hub.lingering.addFirst(r)
		return
	}
	r.lingers = r.hub.lingering.add(r, time.Now().Add(r.hub.opts.Linger))
}

func (r *room) stopLinger() {
	if r.lingers != nil {
		r.hub.lingering.remove(r.lingers)
		r.lingers = nil
	}
}

// wanted says that the room must stay: somebody is in it or about to be, or its
// log is being healed; it lingers again after that. The lock is held.
func (r *room) wanted() bool { return len(r.members) > 0 || r.expected > 0 || r.healed != nil }

// keep puts a frame into the window. The lock is held.
func (r *room) keep(p chat.Publication, f protocol.Frame) {
	mark := p.Mark()
	r.gate.letThrough(p.Position, mark)
	grown := r.window.push(entry{pos: p.Position, mark: mark, frame: f}, r.hub.opts.Window)
	if p.About != "" || p.At.UnixMilli() <= r.window.changed {
		grown += r.refer(p)
	}
	bytes := r.hub.windowBytes.Add(grown)
	r.hub.count.WindowBytes.Set(float64(bytes))
	if bytes > r.hub.opts.WindowBudget {
		notify(r.hub.tight)
	}
}

// deliver passes a publication on to every member. The lock is held.
func (r *room) deliver(p chat.Publication) {
	f := protocol.Message(p)
	r.keep(p, f)
	r.used = time.Now()
	not := r.speakers(p)
	r.tell(item{frame: f, not: not})
	r.hub.count.Publications.Inc()
	r.hub.count.Deliveries.Add(float64(len(r.members) - len(not)))
}

// speakers returns the members who have said p and do not hear themselves. The lock
// is held.
func (r *room) speakers(p chat.Publication) (found []*Member) {
	if r.muted == 0 {
		return nil
	}
	for _, m := range r.members {
		if m.mute && m.skips(p) {
			found = append(found, m)
		}
	}
	return found
}

// users counts the sessions of each user on this node. The lock is held.
func (r *room) users() map[chat.UserID]int {
	users := make(map[chat.UserID]int)
	for _, m := range r.members {
		if !m.watch {
			users[m.user]++
		}
	}
	return users
}

func (r *room) hasOther(m *Member) bool {
	return slices.ContainsFunc(r.members, func(o *Member) bool {
		return o != m && !o.watch && o.user == m.user
	})
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// notify leaves word in a channel of capacity 1, without waiting.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
