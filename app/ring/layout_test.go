package ring_test

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/ring"
)

func seats(ids ...uint32) (seats []ring.Seat) {
	for _, id := range ids {
		seats = append(seats, ring.Seat{ID: id, Weight: 100})
	}
	return seats
}

// The mirror puts rooms where HAProxy has put them.
func TestGolden(t *testing.T) {
	b, err := os.ReadFile("../../haproxy/ring.golden")
	if err != nil {
		t.Fatal(err)
	}
	l, n := ring.Lay(seats(1111, 2222, 3333, 4444)), 0
	for line := range strings.Lines(string(b)) {
		room, want, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		n++
		if id, ok := l.Home(ring.Place(room)); !ok || fmt.Sprint(id) != want {
			t.Errorf("%s is on %d, want %s", room, id, want)
		}
	}
	if n != 50 {
		t.Errorf("%d rooms in the file, want 50", n)
	}
}

// A node's share is the part of all places that are nearest to it.
func TestShares(t *testing.T) {
	for _, l := range []*ring.Layout{
		ring.Lay(seats(1111)),
		ring.Lay(seats(1111, 2222)),
		ring.Lay(seats(1111, 2222, 3333, 4444, 5555, 6666, 7777, 8888)),
		ring.Lay([]ring.Seat{{ID: 1111, Weight: 100}, {ID: 2222, Weight: 1}, {ID: 3333, Weight: 0}}),
	} {
		counted := make(map[uint32]int)
		const n = 200_000
		for i := range uint32(n) {
			id, _ := l.Home(i * (math.MaxUint32 / n))
			counted[id]++
		}
		var sum float64
		for id, share := range l.Shares() {
			sum += share
			if got := float64(counted[id]) / n; math.Abs(got-share) > 0.002 {
				t.Errorf("%d has %.4f of the places, and a share of %.4f", id, got, share)
			}
		}
		if math.Abs(sum-1) > 1e-9 || l.Shares()[3333] != 0 && len(counted) == 2 {
			t.Errorf("the shares are %v together", sum)
		}
	}
}

// Without a node the others have their points where they had them: only its rooms move.
func TestLeaving(t *testing.T) {
	four, three := ring.Lay(seats(1111, 2222, 3333, 4444)), ring.Lay(seats(1111, 3333, 4444))
	for i := range 10_000 {
		place := ring.Place(fmt.Sprint("room-", i))
		before, _ := four.Home(place)
		if after, _ := three.Home(place); after == 2222 || before != 2222 && after != before {
			t.Fatalf("room-%d moves from %d to %d", i, before, after)
		}
	}
}

// The nearest of the points around a place is its home, across the circle's end, too.
func TestAround(t *testing.T) {
	l := ring.Lay(seats(1111, 2222, 3333, 4444))
	for _, place := range []uint32{0, 1, math.MaxUint32, ring.Place("lobby"), ring.Place("room-7")} {
		around := l.Around(place, 4)
		if len(around) != 8 {
			t.Fatalf("%d points around %d, want 8", len(around), place)
		}
		nearest := around[0]
		for i, p := range around {
			if p.Distance < 0 != (i < 4) || i > 0 && p.Distance < around[i-1].Distance {
				t.Errorf("around %d: %v is not in order", place, around)
			}
			if math.Abs(float64(p.Distance)) < math.Abs(float64(nearest.Distance)) {
				nearest = p
			}
		}
		if home, _ := l.Home(place); home != nearest.ID {
			t.Errorf("home of %d is %d, and the nearest point is of %d", place, home, nearest.ID)
		}
	}
}

// An empty ring is nobody's.
func TestEmpty(t *testing.T) {
	l := ring.Lay(nil)
	if id, ok := l.Home(7); ok || len(l.Shares()) > 0 || len(l.Band(720)) > 0 || len(l.Around(7, 4)) > 0 {
		t.Errorf("an empty ring names %d", id)
	}
}

// The band is the ring, piece by piece.
func TestBand(t *testing.T) {
	l := ring.Lay(seats(1111, 2222, 3333, 4444))
	band := l.Band(4)
	for i, place := range []uint32{1 << 29, 3 << 29, 5 << 29, 7 << 29} {
		if id, _ := l.Home(place); band[i] != id {
			t.Errorf("piece %d is of %d, want %d", i, band[i], id)
		}
	}
	if len(l.Band(720)) != 720 {
		t.Errorf("%d pieces, want 720", len(l.Band(720)))
	}
}
