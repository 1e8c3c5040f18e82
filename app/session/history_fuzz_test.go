package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// replies is a transport that hands on what is written to it, and does nothing
// else.
type replies struct {
	session.Conn
	heard chan []byte
}

func (r replies) TryWrite(protocol.Batch) int { return 0 }

func (r replies) Write(batches []protocol.Batch) (bool, protocol.CloseCode) {
	for _, b := range batches {
		for f := range b.Frames() {
			r.heard <- f.JSON()
		}
	}
	return true, 0
}

// Whatever range of history is asked for, the answer is what a list of all
// messages would give, from memory and from the log alike.
func FuzzHistoryRange(f *testing.F) {
	const said, window = 300, 64
	room := chat.RoomID("lobby")
	broker := membroker.New().Node("1111")
	count := metrics.New("1111", "test")
	h := hub.New(broker, hub.Options{
		Window: window, WindowBudget: 1 << 20, Linger: time.Hour, OpenTimeout: time.Minute, FillGrace: time.Millisecond,
	}, &count.Hub)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	f.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			f.Error(err)
		}
	})
	heard := make(chan []byte, 1000)
	alice := session.Who{User: "alice", Rights: chat.AllRights{}, Allowance: &session.Allowance{Rates: &session.Rates{}}}
	limits := &session.Limits{Outbox: 4 << 20, Rooms: 4, CommandTimeout: time.Minute, Strikes: 1 << 30}
	s := session.New(h, alice, replies{heard: heard}, limits, &count.Sessions)
	s.Start(false, session.First{Room: room})
	reply := func(command string) (ok json.RawMessage, bad *protocol.Error) {
		s.Handle([]byte(command))
		for {
			var r struct {
				ID    int
				OK    json.RawMessage
				Error *protocol.Error
			}
			if err := json.Unmarshal(<-heard, &r); err != nil {
				f.Fatal(err)
			}
			if r.ID == 1 {
				return r.OK, r.Error
			}
		}
	}
	for range said {
		if _, bad := reply(`{"id":1,"cmd":"publish","room":"lobby","data":1}`); bad != nil {
			f.Fatal(bad)
		}
	}
	log, err := broker.ReadAfter(ctx, room, chat.Position{}, said)
	if err != nil {
		f.Fatal(err)
	}
	var all []chat.Position
	for _, p := range log {
		all = append(all, p.Position)
	}
	first := all[0]

	f.Add(uint8(0), first.Epoch, uint64(0), 50)
	f.Add(uint8(1), first.Epoch, first.Offset, 256)
	f.Add(uint8(2), first.Epoch, first.Offset+uint64(said), 1)
	f.Add(uint8(1), uint64(0), uint64(0), 1_000_000_000)
	f.Add(uint8(2), uint64(1<<64-1), uint64(1<<64-1), -1)
	f.Add(uint8(1), first.Epoch+1, uint64(0), 0)
	f.Fuzz(func(t *testing.T, kind uint8, epoch, offset uint64, limit int) {
		if kind >= 128 { // where something is
			epoch, offset = first.Epoch, first.Offset+offset%(said+2)
		}
		at := chat.Position{Epoch: epoch, Offset: offset}
		var want []chat.Position
		anchor := ""
		switch kind % 3 {
		case 0:
			want = all
		case 1:
			anchor = fmt.Sprintf(`,"after":"%v"`, at)
			want = slices.DeleteFunc(slices.Clone(all), func(p chat.Position) bool { return !at.Before(p) })
		case 2:
			anchor = fmt.Sprintf(`,"before":"%v"`, at)
			want = slices.DeleteFunc(slices.Clone(all), func(p chat.Position) bool { return !at.IsZero() && !p.Before(at) })
		}
		ok, bad := reply(fmt.Sprintf(`{"id":1,"cmd":"history","room":"lobby","limit":%d%s}`, limit, anchor))
		if (limit < 1) != (bad != nil) {
			t.Fatalf("limit %d: %+v", limit, bad)
		}
		if bad != nil {
			return
		}
		limit = min(limit, protocol.MaxHistory)
		more := len(want) > limit
		if more && kind%3 == 1 {
			want = want[:limit]
		} else if more {
			want = want[len(want)-limit:]
		}
		var got struct {
			Messages []struct{ Pos string }
			More     bool
		}
		if err := json.Unmarshal(ok, &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Messages) != len(want) || got.More != more {
			t.Fatalf("%d messages%s, limit %d: got %d, more %v; want %d, more %v", len(all), anchor, limit, len(got.Messages), got.More, len(want), more)
		}
		for i := range want {
			if got.Messages[i].Pos != want[i].String() {
				t.Fatalf("message %d is at %s, want %v", i, got.Messages[i].Pos, want[i])
			}
		}
	})
}
