package hub

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// An ear keeps what a member hears, and what it should.
type ear struct{ heard, due []string }

func (e *ear) Send(b protocol.Batch) {
	for f := range b.Frames() {
		e.heard = append(e.heard, string(f.JSON()))
	}
}

func (e *ear) Recover([]protocol.Batch) {}

// Whatever members come, go and do not want to hear while passes go on, each hears
// what was told since its join, once and in order: all of it if it stays, the
// beginning if it leaves. Sixty random histories.
func TestEachHearsWhatIsTold(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 5))
		r := newRoom(&Hub{count: &metrics.New("1111", "test").Hub}, "lobby")
		r.out.passing = true // here, a step at a time
		members := make(map[*Member]*ear)
		var p pass
		left := 0
		step := func() {
			if left > 0 {
				if left = r.advance(&p, left); left == 0 {
					r.endPass(p)
				}
			} else if len(r.out.items) > 0 {
				if p, left = r.beginPass(), len(r.members); left == 0 {
					r.endPass(p)
				}
			}
		}
		for n := range uint64(2000) {
			switch what := random.IntN(8); {
			case what < 3:
				e := &ear{}
				m := &Member{room: r, to: e, at: len(r.members), watch: true, heard: r.out.told, events: random.IntN(2) == 0}
				r.members, members[m] = append(r.members, m), e
			case what < 5 && len(r.members) > 0:
				m := r.members[random.IntN(len(r.members))]
				m.Leave()
				if e := members[m]; !slices.Equal(e.heard, e.due[:min(len(e.heard), len(e.due))]) {
					t.Fatalf("history %d: who left heard %v of %v", seed, e.heard, e.due)
				}
				delete(members, m)
			case what < 7:
				told := item{frame: protocol.Ok(n), events: random.IntN(8) == 0}
				if len(r.members) > 0 && random.IntN(2) == 0 {
					told.not = []*Member{r.members[random.IntN(len(r.members))]}
				}
				for m, e := range members {
					if (m.events || !told.events) && !slices.Contains(told.not, m) {
						e.due = append(e.due, string(told.frame.JSON()))
					}
				}
				r.tell(told)
			default:
				step()
			}
		}
		for left > 0 || len(r.out.items) > 0 {
			step()
		}
		for m, e := range members {
			if !slices.Equal(e.heard, e.due) {
				t.Fatalf("history %d: a member at %d heard %v, want %v", seed, m.at, e.heard, e.due)
			}
		}
	}
}
