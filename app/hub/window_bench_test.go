package hub

import (
	"testing"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// What the window of a loud room costs: to push the next publication out and in,
// and to find what somebody has missed.
func BenchmarkWindow(b *testing.B) {
	const size = 256
	var w window
	at := func(offset uint64) entry {
		p := chat.Publication{Draft: chat.Draft{Room: "lobby", From: "bob", Key: "key", Body: []byte("1")}, Position: chat.Position{Epoch: 5, Offset: offset}}
		return entry{pos: p.Position, mark: p.Mark(), frame: protocol.Message(p)}
	}
	for i := range uint64(size) {
		w.push(at(i), size)
	}
	b.Run("push", func(b *testing.B) {
		e := at(size)
		b.ReportAllocs()
		for b.Loop() {
			w.push(e, size)
			e.pos.Offset++
		}
	})
	b.Run("since", func(b *testing.B) {
		last := w.entries[size-1].pos
		p := last
		p.Offset -= size / 2
		b.ReportAllocs()
		for b.Loop() {
			if missed, ok := w.since(p, last); !ok || len(missed) != size/2 {
				b.Fatalf("%d, %v", len(missed), ok)
			}
		}
	})
}
