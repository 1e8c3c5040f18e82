package metrics

import (
	"log/slog"
	"math"
)

// Figures are the few numbers that tell how a node is, read back.
type Figures struct {
	Connections, Rooms, Members int
	Streams                     int // of the connections
	Away                        int // rooms at home elsewhere
	OutboxBytes                 int
	Publications, Deliveries    float64 // since the start
	Append                      []Bucket
}

// A Bucket says how many measurements were at most so long.
type Bucket struct {
	Seconds float64
	Count   uint64
}

// Figures returns what they are now.
func (s *Set) Figures() (f Figures) {
	families, err := s.vital.Gather()
	if err != nil {
		slog.Error("figures cannot be read", "err", err)
	}
	for _, family := range families {
		m := family.GetMetric()[0] // none has labels
		gauge, count := int(m.GetGauge().GetValue()), m.GetCounter().GetValue()
		switch family.GetName() {
		case namespace + "_connections":
			f.Connections = gauge
		case namespace + "_streams":
			f.Streams = gauge
		case namespace + "_rooms":
			f.Rooms = gauge
		case namespace + "_members":
			f.Members = gauge
		case namespace + "_rooms_away":
			f.Away = gauge
		case namespace + "_outbox_bytes":
			f.OutboxBytes = gauge
		case namespace + "_publications_total":
			f.Publications = count
		case namespace + "_deliveries_total":
			f.Deliveries = count
		case namespace + "_append_duration_seconds":
			for _, b := range m.GetHistogram().GetBucket() {
				f.Append = append(f.Append, Bucket{b.GetUpperBound(), b.GetCumulativeCount()})
			}
			f.Append = append(f.Append, Bucket{math.Inf(1), m.GetHistogram().GetSampleCount()})
		}
	}
	return f
}
