package hub

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// Whatever is edited and deleted, by whom and in which order, a window answers each
// message as its last edit says, and nothing of what was deleted nor of its edits;
// what was said stays in it for a heal; and it counts its bytes right.
func TestWindowHasLatestState(t *testing.T) {
	const limit = 12
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var w window
		var all []chat.Publication
		var bytes int64
		state := make(map[chat.Identity]string) // the body since the last edit; "null" if deleted
		for offset := range uint64(80) {
			p := chat.Publication{
				Draft:    chat.Draft{Room: "lobby", From: chat.UserID(fmt.Sprint("user", offset%2)), Key: strconv.Itoa(random.IntN(3)), Body: []byte(strconv.FormatUint(offset, 10))},
				Position: chat.Position{Epoch: 1, Offset: offset}, At: time.UnixMilli(int64(offset / 2)), // two at a time
			}
			var about chat.About
			of := p
			if n := len(all); n > 0 && random.IntN(3) > 0 {
				of = all[n-1-random.IntN(min(n, limit+3))]
			}
			// The log refuses to change what was deleted; a heal may bring it behind.
			here := w.after(of.Position) > 1 // and is not dropped for the next
			if of.Position != p.Position && (here || state[of.Identity()] != "null") {
				target := of.Target()
				target.Position = chat.Position{Epoch: 9, Offset: 9} // as after a reset
				if about.Edits = &target; random.IntN(4) == 0 {
					about = chat.About{Deletes: &target}
					p.Body = []byte("null")
				}
				if state[target.Identity] != "null" {
					state[target.Identity] = string(p.Body)
				}
			} else {
				all = append(all, p)
			}
			p.About = about.String()
			bytes += w.push(entry{pos: p.Position, mark: p.Mark(), frame: protocol.Message(p)}, limit)
			bytes += w.refer(p, about)
			if offset%20 == 19 {
				bytes -= w.drop(3)
			}
			checkWindow(t, &w, state)
			var cost int64
			for _, e := range w.entries {
				cost += e.cost()
			}
			if w.bytes != cost || bytes != cost {
				t.Fatalf("the window counts %d bytes, and grew by %d; it takes %d", w.bytes, bytes, cost)
			}
		}
	}
}

func checkWindow(t *testing.T, w *window, state map[chat.Identity]string) {
	t.Helper()
	for _, e := range w.entries {
		said, err := protocol.ParseMessage(e.frame)
		if err != nil {
			t.Fatal(err)
		}
		about, err := chat.ParseAbout(said.About)
		if err != nil {
			t.Fatal(err)
		}
		want := string(said.Body)
		switch changed := state[said.Identity()]; {
		case about.Edits != nil && state[about.Edits.Identity] == "null":
			want = "null"
		case about.IsMessage() && changed != "":
			want = changed
		}
		var answered struct{ Data json.RawMessage }
		if err := json.Unmarshal(e.now().JSON(), &answered); err != nil || string(answered.Data) != want {
			t.Fatalf("what %s said, %s about %s, is answered as %s, want %s", said.Position, said.Body, said.About, e.now().JSON(), want)
		}
	}
}
