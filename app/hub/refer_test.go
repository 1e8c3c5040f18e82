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

// A history is what is said in a room, and what a window of it must answer.
type history struct {
	*testing.T
	*rand.Rand
	w     window
	bytes int64
	now   int64
	said  []chat.Publication
	lost  []chat.Publication // said before, and not healed yet
	// What has become of messages: what they say since the last edit, or "null".
	state map[chat.Identity]string
	// The offsets of what has changed what is lost: a window that has let go of
	// them does not know.
	ahead map[chat.Identity][]uint64
	gone  map[chat.Identity]bool // healed behind a change that the window has let go of
}

const historyWindow = 12

// Whatever is edited and deleted, by whom and in which order, a window answers each
// message as its last edit says, and nothing of what was deleted nor of its edits;
// what was said stays in it for a heal; and it counts its bytes right. A heal may
// bring messages behind what changes them.
func TestWindowHasLatestState(t *testing.T) {
	for seed := range uint64(20) {
		h := &history{T: t, Rand: rand.New(rand.NewPCG(seed, 1)), now: 1000, state: map[chat.Identity]string{}, ahead: map[chat.Identity][]uint64{}, gone: map[chat.Identity]bool{}}
		for n := range int64(30) {
			p := h.draft(n / 2) // two users say something under one key at once
			p.From, p.Key = chat.UserID(fmt.Sprint("user", n%2)), "k"
			h.lost = append(h.lost, p)
		}
		for offset := range uint64(100) {
			h.now += h.Int64N(2)
			p, about := h.next()
			p.Position = chat.Position{Epoch: 1, Offset: offset}
			if id, change, ok := about.Changes(p); ok {
				if h.state[id] != "null" {
					h.state[id] = string(p.Body)
				}
				if change.Deleted {
					h.ahead[id] = nil
				}
				h.ahead[id] = append(h.ahead[id], offset)
			} else {
				h.said = append(h.said, p)
			}
			h.bytes += h.w.push(entry{pos: p.Position, mark: p.Mark(), frame: protocol.Message(p)}, historyWindow)
			if p.About != "" || p.At.UnixMilli() <= h.w.changed {
				h.bytes += h.w.refer(p, about)
			}
			if offset%20 == 19 {
				h.bytes -= h.w.drop(3)
			}
			h.check()
		}
	}
}

func (h *history) draft(at int64) chat.Publication {
	return chat.Publication{
		Draft: chat.Draft{Room: "lobby", From: chat.UserID(fmt.Sprint("user", h.IntN(2))), Key: strconv.Itoa(h.IntN(3)), Body: []byte(strconv.Itoa(h.IntN(1000)))},
		At:    time.UnixMilli(at),
	}
}

// next is a message that is said or healed, or a change of one that was said or is
// still lost.
func (h *history) next() (p chat.Publication, about chat.About) {
	p = h.draft(h.now)
	p.Key = fmt.Sprint("k", len(h.said), h.w.bytes)
	of := chat.Publication{}
	switch n := len(h.said); {
	case h.IntN(4) == 0 && len(h.lost) > 0:
		i := h.IntN(min(4, len(h.lost)))
		p = h.lost[i]
		h.lost = append(h.lost[:i:i], h.lost[i+1:]...)
		if ahead := h.ahead[p.Identity()]; len(ahead) > 0 {
			counts := ahead[len(ahead)-1]
			if h.state[p.Identity()] == "null" {
				counts = ahead[0]
			}
			if !h.holds(counts, 1) {
				h.gone[p.Identity()] = true
			}
		}
		return p, about
	case h.IntN(3) == 0 && len(h.lost) > 0:
		of = h.lost[h.IntN(min(4, len(h.lost)))]
	case n > 0 && h.IntN(3) > 0:
		of = h.said[n-1-h.IntN(min(n, historyWindow))]
	default:
		return p, about
	}
	// The log refuses to change what was deleted, but for a heal, which may bring an
	// edit behind the deletion.
	if ahead := h.ahead[of.Identity()]; h.state[of.Identity()] == "null" && !h.holds(ahead[0], 1) {
		return p, about
	}
	target := of.Target()
	target.Position = chat.Position{Epoch: 9, Offset: 9} // as before a reset
	if about.Edits = &target; h.IntN(4) == 0 {
		about = chat.About{Deletes: &target}
		p.Body = []byte("null")
	}
	p.About = about.String()
	return p, about
}

// holds says whether the window has an offset, and still has when n more have come.
func (h *history) holds(offset uint64, n int) bool {
	i := h.w.after(chat.Position{Epoch: 1, Offset: offset}) - 1
	return i >= n && h.w.entries[i].pos.Offset == offset
}

func (h *history) check() {
	h.Helper()
	var cost int64
	for _, e := range h.w.entries {
		cost += e.cost()
		said, err := protocol.ParseMessage(e.frame)
		if err != nil {
			h.Fatal(err)
		}
		about, err := chat.ParseAbout(said.About)
		if err != nil {
			h.Fatal(err)
		}
		want := string(said.Body)
		switch changed := h.state[said.Identity()]; {
		case h.gone[said.Identity()] || about.Edits != nil && h.gone[about.Edits.Identity]:
			continue
		case about.Edits != nil && h.state[about.Edits.Identity] == "null":
			want = "null"
		case about.IsMessage() && changed != "":
			want = changed
		}
		var answered struct{ Data json.RawMessage }
		if err := json.Unmarshal(e.now().JSON(), &answered); err != nil || string(answered.Data) != want {
			h.Fatalf("what %s said, %s about %s, is answered as %s, want %s", said.Position, said.Body, said.About, e.now().JSON(), want)
		}
	}
	if h.w.bytes != cost || h.bytes != cost {
		h.Fatalf("the window counts %d bytes, and grew by %d; it takes %d", h.w.bytes, h.bytes, cost)
	}
}
