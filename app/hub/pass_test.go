package hub

import (
	"testing"

	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// A tally counts what a member is sent.
type tally struct{ batches int }

func (c *tally) Send(protocol.Batch)      { c.batches++ }
func (c *tally) Recover([]protocol.Batch) {}

// Whoever leaves in the middle of a pass, all who stay are sent it once.
func TestLeaveDuringPass(t *testing.T) {
	for first := range 4 * stride { // who leaves after each stride, one after the other
		r := newRoom(&Hub{opts: Options{}, count: &metrics.New("1111", "test").Hub}, "lobby")
		members := make(map[*Member]*tally)
		for i := range 4 * stride {
			c := &tally{}
			m := &Member{room: r, to: c, at: i, watch: true}
			r.members = append(r.members, m)
			members[m] = c
		}
		r.out.notices = []notice{{frame: protocol.Ok(1)}}
		r.out.told = 1
		p := r.beginPass()
		for left, leaver := len(r.members), first; left > 0; leaver++ {
			left = r.advance(&p, left)
			m := r.members[leaver%len(r.members)]
			r.leave(m)
			delete(members, m)
		}
		for m, c := range members {
			if c.batches != 1 {
				t.Fatalf("first to leave %d: a member at %d was sent %d batches, want 1", first, m.at, c.batches)
			}
		}
	}
}
