package redisbroker_test

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// BenchmarkAppend appends from many sessions at once through one node, with the
// log in memory only: how far one node and one Redis go. Repeat it with
//
//	go test -run - -bench Append ./app/redisbroker
func BenchmarkAppend(b *testing.B) {
	for _, bytes := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB", bytes), func(b *testing.B) { benchmarkAppend(b, bytes) })
	}
}

func benchmarkAppend(b *testing.B, bytes int) {
	node := newBroker(b, redisbroker.Options{
		URL: chattest.StartRedis(b).URL(), AppID: "1111", Patience: time.Minute, Log: slog.New(slog.DiscardHandler),
	})
	chattest.RunBroker(b, node, chattest.NewRecorder())
	const rooms, sessionsPerCPU = 50, 500
	var sessions, drafts atomic.Uint64
	body := make([]byte, bytes)
	b.SetParallelism(sessionsPerCPU)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		room := chat.RoomID("room" + strconv.FormatUint(sessions.Add(1)%rooms, 10))
		var seen chat.Position
		for pb.Next() {
			d := chat.Draft{Room: room, From: "alice", Key: strconv.FormatUint(drafts.Add(1), 10), Body: body}
			p, err := node.Append(b.Context(), d, seen)
			if err != nil {
				b.Error(err)
				return
			}
			seen = p.Position
		}
	})
	b.StopTimer()
	s := node.Stats()
	b.ReportMetric(float64(s.Appends)/b.Elapsed().Seconds(), "appends/s")
	b.ReportMetric(float64(s.Appends)/float64(s.Batches), "appends/batch")
}
