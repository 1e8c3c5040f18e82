package redisbroker

import (
	"errors"
	"sync/atomic"
)

// Stats are what a Broker has counted since it was built, and how long its
// queue is.
type Stats struct {
	Appends    uint64 // drafts that got a position
	Duplicates uint64 // drafts that had one already
	Refused    uint64 // calls that found the queue full
	Batches    uint64 // round trips of appends and signals
	Retries    uint64 // calls whose answer was lost and that were sent again
	Unkept     uint64 // drafts that were not kept in time as asked

	Bridged       uint64 // publications, signals and questions that others were told
	Heard         uint64 // bridge messages that came in
	Malformed     uint64 // of these, those that could not be read
	Unreadable    uint64 // log entries that could not be read
	Interruptions uint64 // ends of a bridge that worked
	ProbeTimeouts uint64 // of these, those that a missing echo brought about
	Probes        uint64 // probes that Redis took

	Queued      int // calls that wait for Redis
	QueuedBytes int
	Rooms       int // rooms that the bridge holds open
	Connected   bool
}

type counters struct {
	appends, duplicates, refused, batches, retries, unkept atomic.Uint64
	bridged, heard, malformed, unreadable                  atomic.Uint64
	interruptions, probeTimeouts, probes                   atomic.Uint64
}

func (c *counters) appended(known bool, others int64) {
	if known {
		c.duplicates.Add(1)
	} else {
		c.appends.Add(1)
	}
	if others > 0 {
		c.bridged.Add(1)
	}
}

func (c *counters) interrupted(why error) {
	c.interruptions.Add(1)
	if errors.Is(why, errNoEcho) {
		c.probeTimeouts.Add(1)
	}
}

// Stats returns the counters. It may be called at any time.
func (b *Broker) Stats() Stats {
	c := b.counters
	s := Stats{
		Appends:       c.appends.Load(),
		Duplicates:    c.duplicates.Load(),
		Refused:       c.refused.Load(),
		Batches:       c.batches.Load(),
		Retries:       c.retries.Load(),
		Unkept:        c.unkept.Load(),
		Bridged:       c.bridged.Load(),
		Heard:         c.heard.Load(),
		Malformed:     c.malformed.Load(),
		Unreadable:    c.unreadable.Load(),
		Interruptions: c.interruptions.Load(),
		ProbeTimeouts: c.probeTimeouts.Load(),
		Probes:        c.probes.Load(),
	}
	for _, c := range b.committers() {
		c.mu.Lock()
		s.Queued += len(c.queue)
		s.QueuedBytes += c.bytes
		c.mu.Unlock()
	}
	b.bridge.mu.Lock()
	s.Rooms = len(b.bridge.lines)
	select {
	case <-b.bridge.connected:
		s.Connected = true
	default:
	}
	b.bridge.mu.Unlock()
	return s
}
