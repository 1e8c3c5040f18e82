package metrics_test

import (
	"math"
	"testing"

	"github.com/chatring/chatring/app/metrics"
)

// What is counted can be read back.
func TestFigures(t *testing.T) {
	s := metrics.New("1111", "test")
	s.Gateway.Connections.Set(1)
	s.Gateway.Streams.Set(8)
	s.Hub.Rooms.Set(2)
	s.Hub.Members.Set(3)
	s.Home.Away.Set(4)
	s.Sessions.OutboxBytes.Set(5)
	s.Hub.Publications.Add(6)
	s.Hub.Deliveries.Add(7)
	s.Hub.Append.Observe(0.00015)
	s.Hub.Append.Observe(99)
	f := s.Figures()
	buckets := f.Append
	f.Append = nil
	want := metrics.Figures{Connections: 1, Streams: 8, Rooms: 2, Members: 3, Away: 4, OutboxBytes: 5, Publications: 6, Deliveries: 7}
	if f.Connections != want.Connections || f.Streams != want.Streams || f.Rooms != want.Rooms || f.Members != want.Members || f.Away != want.Away ||
		f.OutboxBytes != want.OutboxBytes || f.Publications != want.Publications || f.Deliveries != want.Deliveries {
		t.Errorf("figures = %+v, want %+v", f, want)
	}
	if len(buckets) != 17 || buckets[0].Count != 0 || buckets[1].Count != 1 || buckets[15].Count != 1 ||
		buckets[16] != (metrics.Bucket{Seconds: math.Inf(1), Count: 2}) {
		t.Errorf("buckets = %+v", buckets)
	}
}

func BenchmarkFigures(b *testing.B) {
	s := metrics.New("1111", "test")
	for b.Loop() {
		s.Figures()
	}
}
