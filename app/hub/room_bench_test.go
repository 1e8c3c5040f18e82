package hub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/protocol"
)

// A lender is a broker that lends its sink, once.
type lender struct {
	*membroker.Broker
	sink chan chat.Sink // holds one
}

func (b lender) Run(ctx context.Context, s chat.Sink) error {
	b.sink <- s
	return b.Broker.Run(ctx, s)
}

// A tape is a log that is played to a node over the bridge.
type tape struct {
	chat.Sink
	last chat.Publication
}

// body is 64 bytes.
var body = []byte(`{"text":"` + strings.Repeat("x", 53) + `"}`)

// next is what follows in the log.
func (t *tape) next() chat.Publication {
	p := chat.Publication{
		Draft:    chat.Draft{Room: "lobby", From: "bob", Key: "key", Body: body},
		Position: chat.Position{Epoch: 5}, At: time.UnixMilli(1763776000123), Linked: true,
	}
	if t.last.Epoch == p.Epoch {
		p.Offset, p.Prev = t.last.Offset+1, t.last.Mark()
	}
	t.last = p
	return p
}

// window is as large as it comes.
const window = 256

// lobby is a node on which members of the lobby hear nothing, and its tape.
func lobby(t testing.TB, members int) (*hub.Hub, *tape) {
	broker := lender{membroker.New().Node("1111"), make(chan chat.Sink, 1)}
	o := options
	o.Window, o.FillGrace = window, time.Hour // nothing is missing that does not come
	h, _ := startOn(t, broker, o)
	for range members {
		if _, err := h.Join(t.Context(), "lobby", hub.Join{User: "alice", Receiver: deaf{}}); err != nil {
			t.Fatal(err)
		}
	}
	return h, &tape{Sink: <-broker.sink}
}

// What a publication costs in a room of one that it reaches in order, once more,
// or before another one that it follows.
func BenchmarkHear(b *testing.B) {
	b.Run("next", func(b *testing.B) {
		_, tape := lobby(b, 1)
		b.ReportAllocs()
		for b.Loop() {
			tape.Publication(tape.next())
		}
	})
	b.Run("behind", func(b *testing.B) {
		_, tape := lobby(b, 1)
		tape.Publication(tape.next())
		b.ReportAllocs()
		for b.Loop() {
			tape.Publication(tape.last)
		}
	})
	b.Run("ahead", func(b *testing.B) { // two at a time, the second one first
		_, tape := lobby(b, 1)
		b.ReportAllocs()
		for b.Loop() {
			first, second := tape.next(), tape.next()
			tape.Publication(second)
			tape.Publication(first)
		}
	})
}

// A gong is a member that says when it has been sent something.
type gong struct {
	deaf
	struck chan struct{} // holds a token once it has been
}

func (g gong) Send(protocol.Batch) { g.struck <- struct{}{} }

// audience is a node on which so many members of the lobby hear nothing, and a
// function that plays the next publication to all of them.
func audience(t testing.TB, members int) (hear func()) {
	h, tape := lobby(t, 0)
	last := gong{struck: make(chan struct{}, 1)}
	for i := range members { // the first to join is the last to be served
		to := hub.Receiver(deaf{})
		if i == 0 {
			to = last
		}
		if _, err := h.Join(t.Context(), "lobby", hub.Join{User: "alice", Receiver: to}); err != nil {
			t.Fatal(err)
		}
	}
	<-last.struck // joined
	return func() {
		tape.Publication(tape.next())
		<-last.struck
	}
}

// What a publication costs by the members that it is sent to.
func BenchmarkFanOut(b *testing.B) {
	for _, members := range []int{1, 32, 1000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			hear := audience(b, members)
			b.ReportAllocs()
			for b.Loop() {
				hear()
			}
		})
	}
}

// To send a publication to one more member allocates nothing; a large room's
// goroutine takes an allocation or two for all of them.
func TestFanOutAllocatesNothing(t *testing.T) {
	perPublication := func(members int) float64 {
		hear := audience(t, members)
		for range 2 * window { // the window has its final size
			hear()
		}
		return testing.AllocsPerRun(1000, hear)
	}
	one, small, large := perPublication(1), perPublication(32), perPublication(1000)
	if small != one || large > one+4 {
		t.Errorf("a publication allocates %v times with one member, %v with 32, %v with 1,000", one, small, large)
	}
}

// What a join costs that recovers so many publications from memory.
func BenchmarkJoin(b *testing.B) {
	for _, missed := range []int{0, 256} {
		b.Run(fmt.Sprint("missed ", missed), func(b *testing.B) {
			h, tape := lobby(b, 1)
			first := tape.next()
			tape.Publication(first)
			for range missed {
				tape.Publication(tape.next())
			}
			back := hub.Join{User: "alice", Receiver: deaf{}}
			back.Since = &first.Position
			b.ReportAllocs()
			for b.Loop() {
				m, err := h.Join(b.Context(), "lobby", back)
				if err != nil {
					b.Fatal(err)
				}
				m.Leave()
			}
		})
	}
}

// What an answer costs that has all the history in memory.
func BenchmarkHistory(b *testing.B) {
	h, tape := lobby(b, 1)
	for range window + 1 {
		tape.Publication(tape.next())
	}
	var page []byte
	b.ReportAllocs()
	for b.Loop() {
		messages, more, err := h.History(b.Context(), "lobby", hub.Range{Limit: window - 1})
		if err != nil || len(messages) != window-1 {
			b.Fatalf("%d messages, %v", len(messages), err)
		}
		protocol.OkHistory(&page, 1, messages, more)
	}
}
