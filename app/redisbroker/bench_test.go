package redisbroker_test

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// BenchmarkAppend appends from many sessions at once through one node: how far
// one node and one Redis go, with the log in memory only, and what it costs to
// keep it better. Repeat it with
//
//	go test -run - -bench Append ./app/redisbroker
//
// "always" and "everysec" are Redis' appendfsync; "wait" is everysec with a
// replica that must have each append (redis.replicas=1), and "waitaof" is
// everysec with an append on disk before it is answered (redis.ack=fsync).
// TMPDIR says on which disk.
func BenchmarkAppend(b *testing.B) {
	memory := []string{"--hash-max-listpack-entries", "64"} // as scripts/redis has it
	everysec := append([]string{"--appendonly", "yes", "--appendfsync", "everysec"}, memory...)
	always := append([]string{"--appendonly", "yes", "--appendfsync", "always"}, memory...)
	for _, bytes := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB", bytes), func(b *testing.B) {
			benchmarkAppend(b, chattest.StartRedis(b, memory...), bytes, redisbroker.Options{})
		})
	}
	b.Run("everysec", func(b *testing.B) {
		benchmarkAppend(b, chattest.StartRedis(b, everysec...), 100, redisbroker.Options{})
	})
	b.Run("always", func(b *testing.B) {
		benchmarkAppend(b, chattest.StartRedis(b, always...), 100, redisbroker.Options{})
	})
	b.Run("wait", func(b *testing.B) {
		r, _ := startPair(b, everysec...)
		benchmarkAppend(b, r, 100, redisbroker.Options{Replicas: 1})
	})
	b.Run("waitaof", func(b *testing.B) {
		r := chattest.StartRedis(b, everysec...)
		if !hasWAITAOF(b, operator(b, r)) {
			b.Skip("this redis-server has no WAITAOF: it takes 7.2")
		}
		benchmarkAppend(b, r, 100, redisbroker.Options{Fsync: true})
	})
}

func benchmarkAppend(b *testing.B, r *chattest.Redis, bytes int, o redisbroker.Options) {
	server := operator(b, r)
	o.URL, o.AppID, o.Patience, o.Log = r.URL(), "1111", time.Minute, slog.New(slog.DiscardHandler)
	node := newBroker(b, o)
	chattest.RunBroker(b, node, chattest.NewRecorder())
	const rooms, sessionsPerCPU = 50, 500
	var sessions, drafts atomic.Uint64
	body := make([]byte, bytes)
	b.SetParallelism(sessionsPerCPU)
	b.ReportAllocs()
	before := cpuSeconds(b, server)
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
	b.ReportMetric(float64(s.Appends)/(cpuSeconds(b, server)-before), "appends/redis-CPU-s")
	b.ReportMetric(float64(s.Appends)/float64(s.Batches), "appends/batch")
}

// cpuSeconds is the processor time that Redis has taken since it started.
func cpuSeconds(b *testing.B, server *redis.Client) (seconds float64) {
	b.Helper()
	info := server.InfoMap(b.Context(), "cpu")
	for _, of := range []string{"used_cpu_user", "used_cpu_sys"} {
		s, err := strconv.ParseFloat(info.Item("CPU", of), 64)
		if err != nil {
			b.Fatal(err)
		}
		seconds += s
	}
	return seconds
}
