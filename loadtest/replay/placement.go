package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// placement notes which node each socket met, why sockets ended, and how long
// readers were away. All methods may be called concurrently.
type placement struct {
	mu       sync.Mutex
	ever     map[string]map[string]int // room → shard → sockets that ever were
	open     map[string]map[string]int // room → shard → sockets that are
	sockets  int
	most     int
	opened   int
	closings map[string]int
	refusals int
	refusal  error // the last one
	returns  int   // readers that came back

	down    int // readers that are away
	hit     int // readers that were away in this outage
	since   time.Time
	outages []outage
}

// An outage lasts from the moment when a first reader is away until all are
// back.
type outage struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Readers int       `json:"readers"` // how many were away, some perhaps twice
}

func newPlacement() *placement {
	return &placement{ever: make(map[string]map[string]int), open: make(map[string]map[string]int), closings: make(map[string]int)}
}

// entered notes that a socket has heard the hello of a node.
func (p *placement) entered(room, shard string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range []map[string]map[string]int{p.ever, p.open} {
		if m[room] == nil {
			m[room] = make(map[string]int)
		}
		m[room][shard]++
	}
	p.opened++
	p.sockets++
	p.most = max(p.most, p.sockets)
}

// left notes that a socket has ended; shard is empty when no hello was heard.
func (p *placement) left(room, shard string) {
	if shard == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sockets--
	if p.open[room][shard]--; p.open[room][shard] == 0 {
		delete(p.open[room], shard)
	}
}

// closed notes how a session ended that this program did not end, and returns
// why, with errTerminal when it may not come back.
func (p *placement) closed(err error) error {
	name, comeBack := closing(err)
	p.mu.Lock()
	p.closings[name]++
	p.mu.Unlock()
	if !comeBack {
		return fmt.Errorf("closed: %w: %w", err, errTerminal)
	}
	return err
}

// refused notes a handshake that failed.
func (p *placement) refused(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusals++
	p.refusal = err
}

func (p *placement) readerDown(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down == 0 {
		p.since, p.hit = at, 0
	}
	p.down++
	p.hit++
}

func (p *placement) readerBack(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.returns++
	if p.down--; p.down == 0 {
		p.outages = append(p.outages, outage{p.since, at.Sub(p.since).Seconds(), p.hit})
	}
}

// away is how many readers are away at this moment, and how many sockets there are.
func (p *placement) away() (readers, sockets int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down, p.sockets
}

// A spread says how rooms lie over shards.
type spread struct {
	Rooms    map[string]int `json:"rooms"`      // shard → rooms that have most of their sockets there
	MinShare float64        `json:"min_share"`  // the least share of rooms that a shard has
	MaxShare float64        `json:"max_share"`  // the greatest
	Split    int            `json:"split"`      // rooms with sockets on more than one shard
	MainMean float64        `json:"main_share"` // a room's sockets on its main shard, mean over rooms
	MainMin  float64        `json:"main_min"`   // and of the worst room
}

func spreadOf(m map[string]map[string]int) spread {
	s := spread{Rooms: make(map[string]int), MainMin: 1}
	rooms := 0
	for _, shards := range m {
		total, most, main := 0, 0, ""
		for _, shard := range sorted(shards) {
			n := shards[shard]
			total += n
			if n > most {
				most, main = n, shard
			}
		}
		if total == 0 {
			continue
		}
		rooms++
		s.Rooms[main]++
		if most < total {
			s.Split++
		}
		share := float64(most) / float64(total)
		s.MainMean += share
		s.MainMin = min(s.MainMin, share)
	}
	if rooms == 0 {
		return spread{}
	}
	s.MainMean /= float64(rooms)
	s.MinShare = 1
	for _, n := range s.Rooms {
		share := float64(n) / float64(rooms)
		s.MinShare, s.MaxShare = min(s.MinShare, share), max(s.MaxShare, share)
	}
	return s
}

func sorted(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// over is how rooms lay over shards, counting every socket of the run, and now
// only those that are open.
func (p *placement) over() (run, now spread) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return spreadOf(p.ever), spreadOf(p.open)
}
