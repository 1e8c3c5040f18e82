package clustertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatring/chatring/app/ring"
)

// The ring that operators see is HAProxy's, for whichever nodes: 200 rooms of all kinds
// are where it says, and still are when a node is dead.
func TestRingIsHAProxys(t *testing.T) {
	rooms := []string{"@a+b", "@=40x+y", "a", strings.Repeat("x", 64), "A.b_c-d"}
	for i := range 100 {
		rooms = append(rooms, fmt.Sprint("room-", i), fmt.Sprintf("%08x.%04X", i*2654435761, i))
	}
	for _, n := range []int{2, 4, 8} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var nodes []*httptest.Server
			var vars []string
			var seats []ring.Seat
			for i := range n {
				node := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
				t.Cleanup(node.Close)
				nodes = append(nodes, node)
				vars = append(vars, fmt.Sprintf("WS%d_ADDR=%s", i+1, node.Listener.Addr()))
				seats = append(seats, ring.Seat{ID: uint32(1111 * (i + 1)), Weight: 100})
			}
			d := openDoor(t, append(vars, "WEB_RATE_PER_IP=1000000")...)
			differ := func(l *ring.Layout) (differ []string) {
				t.Helper()
				for _, room := range rooms {
					id, _ := l.Home(ring.Place(room))
					if home := d.home(t, room); home != fmt.Sprint(id) {
						differ = append(differ, fmt.Sprintf("%s is on %s, not on %d", room, home, id))
					}
				}
				return differ
			}
			if wrong := differ(ring.Lay(seats)); len(wrong) > 0 {
				t.Errorf("%d of %d rooms: %v", len(wrong), len(rooms), wrong)
			}
			nodes[0].CloseClientConnections()
			nodes[0].Close()
			var wrong []string
			eventually(t, "the dead node is off HAProxy's ring", func() bool {
				wrong = differ(ring.Lay(seats[1:]))
				return len(wrong) == 0 || len(wrong) > len(rooms)/2 && n > 2
			})
			if len(wrong) > 0 {
				t.Errorf("with a dead node %d of %d rooms: %v", len(wrong), len(rooms), wrong)
			}
		})
	}
}

// home is the node to which HAProxy sends a room.
func (d *door) home(t *testing.T, room string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.address+"/shard/"+room, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.Header.Get("X-Shard")
}

// ringState is what node i says of the ring.
func (c *Cluster) ringState(i int) (s ring.State) {
	c.t.Helper()
	resp, body := c.get("http://"+c.Ops(i)+"/ring/state", nil)
	if err := json.Unmarshal(body, &s); err != nil || resp.StatusCode != http.StatusOK {
		c.t.Fatalf("/ring/state: %s %.200s", resp.Status, body)
	}
	return s
}

// find is what node i says of a room.
func (c *Cluster) find(i int, room string) (w ring.Whereabouts) {
	c.t.Helper()
	resp, body := c.get("http://"+c.Ops(i)+"/ring/rooms/"+room, nil)
	if err := json.Unmarshal(body, &w); err != nil || resp.StatusCode != http.StatusOK {
		c.t.Fatalf("/ring/rooms/%s: %s %.200s", room, resp.Status, body)
	}
	return w
}

func told(s ring.State, node string, kind ring.Kind) bool {
	for _, e := range s.Events {
		if e.Node == node && e.Kind == kind {
			return true
		}
	}
	return false
}

// Operators see the ring as it is: who is on it and where a room lives; a split room;
// within two seconds that a node was killed; and that Redis is lost, without it.
func TestLiveRing(t *testing.T) {
	c := Start(t, 3)
	eventually(t, "three nodes are on the ring", func() bool {
		on := 0
		for _, n := range c.ringState(1).Nodes {
			if n.Answers && n.On && n.Share > 0.25 && n.Node.Redis != nil && n.Node.Redis.OK && n.Node.Rooms == 0 && n.Node.Members == 0 {
				on++
			}
		}
		return on == 3
	})

	room := c.RoomOn(2)
	home := c.Dial(c.Front(), "/ws/chat/"+room+"?user=alice")
	eventually(t, "alice is counted", func() bool {
		n := c.ringState(1).Nodes[1].Node
		return n.Rooms == 1 && n.Members == 1 && n.Connections == 1
	})
	if w := c.find(1, room); w.Why != ring.ByHash || w.Home != "2222" || w.Split || len(w.Serving) != 1 || w.Serving[0].Members != 1 {
		t.Errorf("of a room on its node: %+v", w)
	}
	away := c.Dial(c.Node(3), "/ws/chat/"+room+"?user=bob")
	if w := c.find(1, room); !w.Split || len(w.Serving) != 2 || !strings.Contains(w.Text, "split over 2222 (1 member) and 3333 (1 member)") {
		t.Errorf("of a room on two nodes: %+v", w)
	}
	for _, kind := range []ring.Kind{ring.Split, ring.LedHome} {
		eventually(t, fmt.Sprint("the feed tells that the room is ", kind), func() bool { return told(c.ringState(1), "3333", kind) })
	}
	if code := away.Code(); code != 1012 {
		t.Errorf("bob was sent home with %d, want 1012", code)
	}

	killed := time.Now()
	c.Signal("ws2", syscall.SIGKILL)
	eventually(t, "the dead node is seen", func() bool {
		s := c.ringState(1)
		return s.Nodes[1].AppID == "2222" && !s.Nodes[1].Answers && told(s, "2222", ring.Silent)
	})
	if took := time.Since(killed); took > 2*time.Second {
		t.Errorf("the dead node was seen after %v, want 2s at most", took)
	}
	// HAProxy, which nobody asks for its rooms meanwhile, finds out by its checks.
	eventually(t, "the dead node is off the ring", func() bool {
		s := c.ringState(1)
		return !s.Nodes[1].On && s.Nodes[1].Share == 0 && told(s, "2222", ring.OffRing)
	})
	home.Code()
	if w := c.find(1, room); w.Why != ring.Moved || w.Hash != "2222" || w.Home == "2222" {
		t.Errorf("of a room whose node is dead: %+v", w)
	}
	c.script("scripts/up", "--node", "2")
	eventually(t, "the node is back", func() bool {
		s := c.ringState(1)
		return s.Nodes[1].On && s.Nodes[1].Answers && told(s, "2222", ring.Answers) && told(s, "2222", ring.OnRing)
	})

	c.Signal("redis", syscall.SIGKILL)
	eventually(t, "every node says that Redis is lost", func() bool {
		for _, n := range c.ringState(2).Nodes {
			if !n.Answers || !n.On || n.Node.Redis.OK {
				return false
			}
		}
		return true
	})
	if w := c.find(2, room); w.Why != ring.ByHash || w.Home != "2222" {
		t.Errorf("without Redis: %+v", w)
	}
	c.script("scripts/up", "--redis")
	eventually(t, "the feed tells that Redis is back", func() bool {
		s := c.ringState(1)
		return told(s, "1111", ring.RedisLost) && told(s, "1111", ring.RedisBack) && s.Nodes[0].Node.Redis.OK
	})
	c.noRaces()
}
