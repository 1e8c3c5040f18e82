package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// A beat is how a run stands at one moment. -trace writes one line of JSON for
// each tenth of a second, for whoever injects faults meanwhile.
type beat struct {
	At           time.Time  `json:"at"`
	Acknowledged int        `json:"acknowledged"`
	Declared     int        `json:"declared"`       // gaps and resets
	Away         int        `json:"readers_away"`   // without a session
	Gone         float64    `json:"away_s"`         // how long the reader has been away that is away longest
	Waiting      float64    `json:"waiting_s"`      // how long the eldest line has waited for its acknowledgement
	Late         float64    `json:"late_s"`         // how long the eldest acknowledged message has not come to a reader
	Ended        int        `json:"sessions_ended"` // not by this program
	Handshakes   int        `json:"handshakes"`
	Refused      int        `json:"failed_handshakes"`
	Heard        []delivery `json:"heard,omitempty"` // since the beat before
}

// A delivery is one message at one reader.
type delivery struct {
	MS    float64 `json:"ms"`                   // from the sending
	Shard string  `json:"shard"`                // that the reader sits on
	Sits  float64 `json:"session_s"`            // for how long it has been there
	Again bool    `json:"said_again,omitempty"` // the speaker had to send it more than once
}

const beatEvery = 100 * time.Millisecond

// writeBeats writes beats until done is closed, and a last one then. An error ends
// it, and the run is no worse for it.
func (p *player) writeBeats(done <-chan struct{}) {
	ticks := time.NewTicker(beatEvery)
	defer ticks.Stop()
	out := json.NewEncoder(p.beats)
	for over := false; ; {
		if err := out.Encode(p.beat(time.Now())); err != nil {
			fmt.Fprintln(os.Stderr, "replay: trace:", err)
			return
		}
		if over {
			return
		}
		select {
		case <-done:
			over = true
		case <-ticks.C:
		}
	}
}

func (p *player) beat(now time.Time) beat {
	b := beat{At: now}
	for _, l := range p.ledgers {
		l.beat(&b, now)
	}
	pl := p.places
	pl.mu.Lock()
	defer pl.mu.Unlock()
	b.Away, b.Handshakes, b.Refused = pl.down, pl.opened, pl.refusals
	for _, n := range pl.closings {
		b.Ended += n
	}
	return b
}

// beat adds a room's part.
func (l *ledger) beat(b *beat, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.Acknowledged += len(l.acks)
	b.Declared += l.found.Gaps + l.found.Resets
	if !l.due.IsZero() {
		b.Waiting = max(b.Waiting, now.Sub(l.due).Seconds())
	}
	for _, h := range l.readers {
		if !h.gone.IsZero() {
			b.Gone = max(b.Gone, now.Sub(h.gone).Seconds())
		}
		for h.whole < len(l.said) && h.has(l.said[h.whole]) {
			h.whole++
		}
		if h.whole < len(l.said) && l.said[h.whole].acked {
			b.Late = max(b.Late, now.Sub(l.said[h.whole].at).Seconds())
		}
	}
	b.Heard = append(b.Heard, l.recent...)
	l.recent = l.recent[:0]
}

// turn notes that the room's next line is to be said.
func (l *ledger) turn(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = at
}

// left notes that a reader's session has ended, and join that it is back.
func (h *hearing) left(at time.Time) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.gone = at
}

// met notes which node a reader's session has met.
func (h *hearing) met(shard string, at time.Time) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.shard, h.since = shard, at
}
