package clustertest

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

// A node takes so many sockets and has so many rooms open. What is beyond that
// another node serves, and when none can, the client is told to come back.
func TestAdmission(t *testing.T) {
	const sockets, rooms = 8, 30
	c := Start(t, 2, fmt.Sprint("CHATRING_GATEWAY_MAX_CONNECTIONS=", sockets), fmt.Sprint("CHATRING_ROOM_MAX=", rooms))
	aimed := c.roomsOn(1, 200)
	t.Run("all rooms aimed at one node", func(t *testing.T) {
		sub := *c
		sub.t = t
		sub.aimAtOneNode(aimed, rooms)
	})
	eventually(t, "the sockets of the attack are gone", func() bool {
		return c.Metric(1, "chatring_connections")+c.Metric(2, "chatring_connections") == 0
	})
	t.Run("a full node", func(t *testing.T) {
		sub := *c
		sub.t = t
		sub.fillNodes(aimed[0], sockets)
	})
	c.noRaces()
}

// roomsOn returns n rooms whose home is node i.
func (c *Cluster) roomsOn(i, n int) (rooms []string) {
	c.t.Helper()
	for k := 0; len(rooms) < n; k++ {
		if room := fmt.Sprintf("room-%d", k); NodeOf(c.Shard(room)) == i {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// aimAtOneNode joins rooms whose home is node 1, over a few sockets. That node
// refuses what it has no place for, and goes on with what it has. On the other
// node nobody notices, and it takes who finds no place on the first.
func (c *Cluster) aimAtOneNode(aimed []string, limit int) {
	t := c.t
	victim := c.Dial(c.Front(), "/ws/chat/"+aimed[0]+"?user=victim")
	other := c.RoomOn(2)
	bystander := c.Dial(c.Front(), "/ws/chat/"+other+"?user=bystander")
	before := c.Metric(1, "chatring_members")
	var attackers []*Client
	refused := 0
	for i, room := range aimed[1:] {
		if i%50 == 0 {
			attackers = append(attackers, c.Dial(c.Front(), fmt.Sprintf("/ws/chat/%s?user=attacker%d", aimed[0], i)))
		}
		attacker := attackers[len(attackers)-1]
		attacker.Send(`{"id":%d,"cmd":"join","room":%q}`, i+1, room)
		if f := attacker.Reply(i + 1); f.Error != nil {
			refused++
			if f.Error.Code != "unavailable" || !f.Error.Temporary || f.Error.RetryAfterMS == 0 {
				t.Fatalf("join %d: %+v, want unavailable with a hint", i, f.Error)
			}
		}
	}
	if least := len(aimed) - limit; refused < least { // the nodes' own room has a place, too
		t.Errorf("%d joins were refused, want %d or one more", refused, least)
	}
	if got := c.Metric(1, "chatring_rooms"); got != float64(limit) {
		t.Errorf("node 1 has %v rooms open, want %d", got, limit)
	}
	if got := c.Metric(2, "chatring_rooms_refused_total"); got != 0 {
		t.Errorf("node 2 refused %v joins", got)
	}
	for name, cl := range map[string]struct {
		*Client
		room string
	}{"victim": {victim, aimed[0]}, "bystander": {bystander, other}} {
		cl.Send(`{"id":1,"cmd":"publish","room":%q,"key":%q,"data":1}`, cl.room, name)
		cl.Message(name)
	}
	if late := c.Dial(c.Front(), "/ws/chat/"+aimed[len(aimed)-1]+"?user=late"); late.Shard != "2222" {
		t.Errorf("who finds no place on node 1 is on %s, want 2222", late.Shard)
	}
	for _, attacker := range attackers {
		_ = attacker.conn.Close(websocket.StatusNormalClosure, "")
	}
	eventually(t, "the rooms of the attack are empty", func() bool { return c.Metric(1, "chatring_members") <= before })
	if late := c.Dial(c.Front(), "/ws/chat/"+aimed[len(aimed)-2]+"?user=late"); late.Shard != "1111" {
		t.Errorf("a room is on %s after the attack, want its home: empty rooms make place", late.Shard)
	}
}

// fillNodes takes all places of one node, then of the other.
func (c *Cluster) fillNodes(room string, places int) {
	t := c.t
	for i := range places {
		c.Dial(c.Node(1), fmt.Sprintf("/ws/chat/fill?user=u%d", i))
	}
	for i := range places {
		if cl := c.Dial(c.Front(), fmt.Sprintf("/ws/chat/%s?user=u%d", room, i)); cl.Shard != "2222" {
			t.Fatalf("socket %d of a room whose home is full is on %s, want 2222", i, cl.Shard)
		}
	}
	for _, path := range []string{"/ws/chat/" + room, "/ws/watch/" + room} {
		if resp := c.refused(path+"?user=late", upgrade(), http.StatusServiceUnavailable, "unavailable"); resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
}
