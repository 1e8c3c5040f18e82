package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A Departure says which sockets are sent to other nodes, and how fast. The zero
// value closes all of them at once.
type Departure struct {
	// Leaves says whether a socket goes, by the room that it was opened for, and
	// when. A watcher's socket has no room: any node will do. Nil: all go.
	Leaves func(room chat.RoomID, opened time.Time) bool
	// Rate is how many members the other nodes may have to take each second.
	Rate int
	// Within is the time in which all have gone. When Rate needs longer, they
	// leave faster, and are told to come back later.
	Within time.Duration
	// Ahead is called with the rooms whose members are about to leave, so that
	// they can be awaited elsewhere, and names those whose members are to stay
	// after all. Calls come one at a time. Nil: nobody is asked.
	Ahead func(ctx context.Context, rooms []chat.RoomID) (stay []chat.RoomID)
	// Patience is how long members may wait for Ahead beyond their turns, all
	// turns together. After that they leave without.
	Patience time.Duration
}

const (
	// step is how long the other nodes have for one group of members, if that
	// makes a member or more. Shorter ones pace better; each is a call ahead.
	step = 100 * time.Millisecond
	// headStart is how many groups Ahead may be in front: their rooms have
	// about half a second to be opened elsewhere.
	headStart = 5
)

// A group is sockets that leave at once.
type group struct {
	conns  []*conn
	notice protocol.Frame // says when to come back
}

// Refuse makes the gateway answer 503 to new sockets; those it has, it serves.
func (g *Gateway) Refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
}

// Close refuses new sockets, sends those away that there are, and returns when
// the last one has gone.
func (g *Gateway) Close(d Departure) {
	g.Refuse()
	g.SendAway(context.Background(), d)
	g.serving.Wait()
}

// Rooms returns the rooms for which sockets were opened after one time and not
// after another, but for those of watchers.
func (g *Gateway) Rooms(after, until time.Time) []chat.RoomID {
	g.mu.Lock()
	defer g.mu.Unlock()
	rooms := make(map[chat.RoomID]bool)
	for c := range g.conns {
		if c.room != "" && c.opened.After(after) && !c.opened.After(until) {
			rooms[c.room] = true
		}
	}
	return slices.Collect(maps.Keys(rooms))
}

// SendAway tells members to come back, which will be elsewhere, and closes their
// sockets, a group at a time, room by room. The members of a group are told a
// span of their own, so that they come back at the rate, no matter how they
// left: nothing is left to the patience of clients. It returns how many it has
// sent, when all have been told or ctx has ended.
func (g *Gateway) SendAway(ctx context.Context, d Departure) (sent int) {
	groups, gap := d.groups(g.leaving(d.Leaves))
	asking, giveUp := context.WithCancel(ctx)
	scouts := d.scout(asking, groups)
	defer func() {
		giveUp()
		for range scouts { // Ahead is not called any more once SendAway has returned
		}
	}()
	turn := time.NewTicker(max(gap, 1))
	defer turn.Stop()
	for _, group := range groups {
		stay, asked := d.await(scouts)
		if !asked {
			giveUp()
		}
		if gap > 0 {
			select {
			case <-turn.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return sent
		}
		for _, c := range group.conns {
			if !slices.Contains(stay, c.room) {
				c.session.Send(group.notice.Batch())
				c.session.Close(protocol.CloseDrain)
				sent++
			}
		}
	}
	return sent
}

// leaving returns the sockets that are to go: those of watchers first, so that
// there is time to ask ahead for the others, then room by room.
func (g *Gateway) leaving(leaves func(chat.RoomID, time.Time) bool) []*conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	var conns []*conn
	for c := range g.conns {
		if leaves == nil || leaves(c.room, c.opened) {
			conns = append(conns, c)
		}
	}
	slices.SortFunc(conns, func(a, b *conn) int { return cmp.Compare(a.room, b.room) })
	return conns
}

// groups cuts sockets into groups, and returns the time from one to the next.
// Each has its share of the time that the rate gives them all. Where the groups
// leave faster than that, the later ones are told to come back that much later.
func (d *Departure) groups(conns []*conn) (groups []group, gap time.Duration) {
	if len(conns) == 0 {
		return nil, 0
	}
	rate := max(d.Rate, 1)
	size := max(1, rate*int(step)/int(time.Second))
	share := time.Duration(size) * time.Second / time.Duration(rate)
	for part := range slices.Chunk(conns, size) {
		groups = append(groups, group{conns: part})
	}
	gap = min(share, d.Within/time.Duration(len(groups)))
	if gap < share && d.Within > 0 {
		slog.Warn("more members than can come back elsewhere while this node drains: the last ones are told to stay away for longer",
			"sockets", len(conns), "rate", rate, "within", d.Within, "last_back_after", share*time.Duration(len(groups)))
	}
	for i := range groups {
		from := (share - gap) * time.Duration(i)
		groups[i].notice = protocol.Drain{ReconnectMS: [2]int64{from.Milliseconds(), (from + share).Milliseconds()}}.Frame()
	}
	return groups, gap
}

// scout calls Ahead for one group after the other. The channel has what it
// returned for each, and is closed when that is done or ctx has ended.
func (d *Departure) scout(ctx context.Context, groups []group) <-chan []chat.RoomID {
	scouts := make(chan []chat.RoomID, headStart)
	go func() {
		defer close(scouts)
		for _, group := range groups {
			var stay []chat.RoomID
			if rooms := group.rooms(); d.Ahead != nil && len(rooms) > 0 {
				stay = d.Ahead(ctx, rooms)
			}
			select {
			case scouts <- stay:
			case <-ctx.Done():
				return
			}
		}
	}()
	return scouts
}

// rooms returns the rooms of the group's members.
func (g group) rooms() []chat.RoomID {
	var rooms []chat.RoomID
	for _, c := range g.conns { // in the order of their rooms; watchers, who have none, come first
		if c.room != "" && (len(rooms) == 0 || rooms[len(rooms)-1] != c.room) {
			rooms = append(rooms, c.room)
		}
	}
	return rooms
}

// await returns what was found ahead of the next group. It is false once there
// is no more patience for it.
func (d *Departure) await(scouts <-chan []chat.RoomID) (stay []chat.RoomID, asked bool) {
	began := time.Now()
	select {
	case stay, asked = <-scouts:
	case <-time.After(d.Patience):
	}
	d.Patience -= time.Since(began)
	return stay, asked
}
