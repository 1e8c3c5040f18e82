package hub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// weighingBroker counts the bytes that are read from the log.
type weighingBroker struct {
	chat.Broker
	read atomic.Int64
}

func (b *weighingBroker) weigh(found []chat.Publication, err error) ([]chat.Publication, error) {
	for _, p := range found {
		b.read.Add(int64(len(p.Body)))
	}
	return found, err
}

func (b *weighingBroker) ReadAfter(ctx context.Context, r chat.RoomID, after chat.Position, limit int) ([]chat.Publication, error) {
	return b.weigh(b.Broker.ReadAfter(ctx, r, after, limit))
}

func (b *weighingBroker) ReadBefore(ctx context.Context, r chat.RoomID, before chat.Position, limit int) ([]chat.Publication, error) {
	return b.weigh(b.Broker.ReadBefore(ctx, r, before, limit))
}

// A page of long messages makes the node read little more than is answered, so
// that asking for pages without end slows nobody else down; and page by page one
// gets everything, whatever the messages' lengths.
func TestHistoryReadsLittle(t *testing.T) {
	const said, long = 600, 16 << 10
	for name, length := range map[string]func(int) int{
		"all are long":           func(int) int { return long },
		"all are short":          func(int) int { return 1 },
		"long behind short ones": func(i int) int { return 1 + i/(said/2)*long },
		"any":                    func(int) int { return 1 + rand.IntN(2)*rand.IntN(long) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := &weighingBroker{Broker: membroker.New().Node("1111")}
				h := hub.New(broker, options, &metrics.New("1111", "test").Hub)
				ctx, stop := context.WithCancel(context.Background())
				done := make(chan error)
				go func() { done <- h.Run(ctx) }()
				m := join(t, h, "lobby", "alice", &listener{}, nil)
				var want []chat.Position
				for i := range said {
					p, err := m.Publish(t.Context(), fmt.Sprint(i), []byte(strings.Repeat("1", length(i))))
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, p.Position)
				}
				page := func(g hub.Range) ([]chat.Position, bool) {
					t.Helper()
					broker.read.Store(0)
					g.Limit = protocol.MaxHistory
					frames, more, err := h.History(t.Context(), "lobby", g)
					if err != nil || len(frames) == 0 {
						t.Fatalf("%d messages, %v", len(frames), err)
					}
					if n := broker.read.Load(); n > 1<<20 {
						t.Errorf("%d bytes were read for %d messages", n, len(frames))
					}
					positions := make([]chat.Position, len(frames))
					for i, f := range frames {
						p, err := protocol.ParseMessage(f)
						if err != nil {
							t.Fatal(err)
						}
						positions[i] = p.Position
					}
					return positions, more
				}
				var forward, back []chat.Position
				for last, more := (chat.Position{}), true; more; last = forward[len(forward)-1] {
					var p []chat.Position
					p, more = page(hub.Range{After: &last})
					forward = append(forward, p...)
				}
				for first, more := (chat.Position{}), true; more; first = back[0] {
					var p []chat.Position
					p, more = page(hub.Range{Before: first})
					back = append(p, back...)
				}
				if !slices.Equal(forward, want) || !slices.Equal(back, want) {
					t.Errorf("%d forward and %d back, want %d", len(forward), len(back), said)
				}
				m.Leave()
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A page as long as the window comes from memory, and says whether there are older
// messages, however the room came into memory.
func TestPageOfTheWholeWindow(t *testing.T) {
	for _, said := range []int{options.Window - 1, options.Window, options.Window + 1} {
		for _, opened := range []string{"while they are said", "behind them"} {
			t.Run(fmt.Sprint(said, " ", opened), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cluster := membroker.New()
					broker := &countingBroker{Broker: cluster.Node("1111")}
					h, _ := startOn(t, broker, options)
					speaker := join(t, h, "lobby", "alice", &listener{}, nil)
					for i := range said {
						say(t, speaker, fmt.Sprint("k", i))
					}
					if opened == "behind them" {
						broker = &countingBroker{Broker: cluster.Node("2222")}
						h, _ = startOn(t, broker, options)
						defer join(t, h, "lobby", "bob", &listener{}, nil).Leave()
					}
					broker.reset()
					found, more, err := h.History(t.Context(), "lobby", hub.Range{Limit: options.Window})
					if err != nil || len(found) != min(said, options.Window) || more != (said > options.Window) {
						t.Errorf("%d messages, more: %v, %v", len(found), more, err)
					}
					if n := broker.reads(); n != 0 {
						t.Errorf("the log was read %d times", n)
					}
					speaker.Leave()
				})
			})
		}
	}
}

// Who wants everything is told that not all of it is there any more, when the log
// keeps less than the window would.
func TestTrimmedLogIsNotWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New(membroker.Retention(options.Window / 2))
		h, _ := startOn(t, cluster.Node("1111"), options)
		speaker := join(t, h, "lobby", "alice", &listener{}, nil)
		for i := range options.Window {
			say(t, speaker, fmt.Sprint("k", i))
		}
		later, _ := startOn(t, cluster.Node("2222"), options)
		l := &listener{}
		join(t, later, "lobby", "bob", l, &chat.Position{}).Leave()
		if joined := l.heard[0]; joined.Recovered || joined.Missed != 0 {
			t.Errorf("bob hears %+v", joined)
		}
		speaker.Leave()
	})
}
