package main

import (
	"math"
	"slices"
	"sync"
	"time"
)

// Samples are times. All methods may be called concurrently.
type samples struct {
	// Guarded by mu.
	mu  sync.Mutex
	all []time.Duration
}

func (s *samples) add(d time.Duration) {
	s.mu.Lock()
	s.all = append(s.all, d)
	s.mu.Unlock()
}

// Times are samples in milliseconds.
type times struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func (s *samples) times() times {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return times{}
	}
	slices.Sort(s.all)
	// The least sample that so many are not above.
	at := func(share float64) float64 {
		i := max(int(math.Ceil(share*float64(len(s.all))))-1, 0)
		return round(float64(s.all[i]) / float64(time.Millisecond))
	}
	return times{len(s.all), at(0.50), at(0.99), at(1)}
}

func compare(alone, flooded *samples) compared {
	c := compared{Alone: alone.times(), Flooded: flooded.times()}
	if c.Alone.P99 > 0 {
		c.P99Ratio = round(c.Flooded.P99 / c.Alone.P99)
	}
	return c
}

func round(f float64) float64 { return math.Round(f*1000) / 1000 }
