package hub

import (
	"cmp"
	"log/slog"
	"slices"
	"time"
)

// shrinkLoop halves the windows of the least used rooms each time that all of
// them together exceed the node's budget.
func (h *Hub) shrinkLoop() {
	for {
		select {
		case <-h.tight:
		case <-h.life.Done():
			return
		}
		h.shrink()
	}
}

// shrink goes on until a tenth of the budget is free, so that it does not run
// again at the next publication.
func (h *Hub) shrink() {
	target := h.opts.WindowBudget / 10 * 9
	type candidate struct {
		room *room
		used time.Time
	}
	var rooms []candidate
	for _, r := range h.served() {
		r.mu.Lock()
		rooms = append(rooms, candidate{r, r.used})
		r.mu.Unlock()
	}
	slices.SortFunc(rooms, func(a, b candidate) int { return cmp.Compare(a.used.UnixNano(), b.used.UnixNano()) })
	for h.windowBytes.Load() > target {
		before := h.windowBytes.Load()
		for _, c := range rooms {
			if h.windowBytes.Load() <= target {
				break
			}
			c.room.mu.Lock()
			freed := c.room.window.drop((len(c.room.window.entries) + 1) / 2)
			c.room.mu.Unlock()
			h.windowBytes.Add(-freed)
		}
		if h.windowBytes.Load() >= before {
			break // nothing left to give
		}
	}
	h.count.WindowBytes.Set(float64(h.windowBytes.Load()))
	slog.Debug("windows shrunk", "bytes", h.windowBytes.Load(), "budget", h.opts.WindowBudget)
}
