package hub_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/hub"
)

// BenchmarkEmptyRoom opens rooms in which nothing has been said, and leaves
// them: what a room that lingers takes of the node's memory, the broker's part
// included. Repeat it with
//
//	go test -run - -bench EmptyRoom -benchtime 50000x ./app/hub
func BenchmarkEmptyRoom(b *testing.B) {
	r := chattest.StartRedis(b)
	h, _ := startOn(b, redisNode(b, r, "1111"), options)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := heap()
	b.ResetTimer()
	for i := range b.N {
		m, err := h.Join(b.Context(), chat.RoomID(fmt.Sprint("room-", i)), hub.Join{User: "alice", Receiver: &listener{}})
		if err != nil {
			b.Fatal(err)
		}
		m.Leave()
	}
	b.StopTimer()
	b.ReportMetric(float64(heap()-before)/float64(b.N), "bytes/room")
}
