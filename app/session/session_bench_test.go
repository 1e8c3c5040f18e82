package session_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// A hole is a transport that takes everything at once.
type hole struct{}

func (hole) TryWrite(b protocol.Batch) int                              { return len(b) }
func (hole) Write([]protocol.Batch) (bool, protocol.CloseCode)          { return true, 0 }
func (hole) Finish(protocol.CloseCode)                                  {}
func (hole) Hurry()                                                     {}
func (hole) Renew(string) (chat.Rights, time.Duration, *protocol.Error) { return nil, 0, nil }

// What a command costs from its text to its answer, beside the transport and the
// log: one that is refused, and a publish of 64 bytes in a room of one.
func BenchmarkHandle(b *testing.B) {
	log := membroker.New(membroker.Retention(1000), membroker.KeyWindow(time.Millisecond))
	h := hub.New(log.Node("1111"), hub.Options{Window: 64, WindowBudget: 1 << 20, Linger: time.Minute, OpenTimeout: time.Second}, &metrics.New("1111", "test").Hub)
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	rates := &session.Rates{Messages: 1 << 30, Bytes: 1 << 40, Burst: time.Second}
	alice := session.Who{User: "alice", Rights: chat.AllRights{}, Allowance: &session.Allowance{Rates: rates}}
	limits := session.Limits{Outbox: 1 << 20, Rooms: 4, CommandTimeout: time.Second, Strikes: 3, Rates: *rates}
	s := session.New(h, alice, hole{}, &limits, &metrics.New("1111", "test").Sessions)
	s.Start(false, session.First{Room: "lobby"})
	defer s.End()
	for name, frame := range map[string]string{
		"refused": `{"id":7,"cmd":"publish","room":"elsewhere","data":1}`,
		"publish": `{"id":7,"cmd":"publish","room":"lobby","data":{"text":"` + strings.Repeat("x", 53) + `"}}`,
	} {
		b.Run(name, func(b *testing.B) {
			frame := []byte(frame)
			b.ReportAllocs()
			for b.Loop() {
				s.Handle(frame)
			}
		})
	}
}
