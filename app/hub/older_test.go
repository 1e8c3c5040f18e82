package hub

import (
	"testing"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

// A log that, once it is healed, ends before what the window holds has something
// that the window does not: history must be asked of the log.
func TestHealedLogIsOlderThanWindow(t *testing.T) {
	h := New(nil, Options{Window: 16, WindowBudget: 1 << 20}, &metrics.New("1111", "test").Hub)
	r := newRoom(h, "lobby")
	at := func(offset uint64) chat.Publication {
		return chat.Publication{Draft: chat.Draft{Room: "lobby", From: "bob", Key: "key", Body: []byte("1")}, Position: chat.Position{Epoch: 5, Offset: offset}}
	}
	for offset := range uint64(3) {
		r.deliver(at(10 + offset))
	}
	if _, _, known := r.window.before(chat.Position{}, 10); !known {
		t.Fatal("a window before which nothing stands must answer by itself")
	}
	r.healed = make(chan struct{})
	r.gate.heard = at(4).Position // the log has no more: nothing is to be filled
	if err := r.goOn(t.Context(), r.window.entries, nil, tail{}, at(4)); err != nil {
		t.Fatal(err)
	}
	if found, more, known := r.window.before(chat.Position{}, 10); known {
		t.Errorf("the window answers %v, more %v, for a log that ends with what it does not hold", found, more)
	}
}
