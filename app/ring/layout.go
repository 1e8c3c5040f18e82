package ring

import (
	"cmp"
	"slices"
	"sort"
)

// A Layout is HAProxy's ring of some nodes: "hash-type consistent" with the default
// function (sdbm, avalanched) and the default key (id), as HAProxy 2.6, 2.8, 3.0.13
// and later, and 3.2.7 and later have it. A node has so many points on a circle of
// 2^32 places as its weight says, and a room is at home on the node whose point is
// nearest to its own. It never changes.
type Layout struct {
	points []point // in the order of the circle
}

type point struct {
	at   uint32
	node uint32 // its id
}

// A Seat is what gives a node its points.
type Seat struct {
	ID     uint32 // the server's id in haproxy.cfg: the node's APPID
	Weight int
}

const (
	// pointsPerWeight is how many points a weight of one is.
	pointsPerWeight = 16
	// pointsPerNode is by how much the numbers are apart from which two neighbouring
	// ids make their points: the most points that a node can have.
	pointsPerNode = 256 * pointsPerWeight
)

// Lay puts nodes on a ring. A node of weight 0 has no point.
func Lay(seats []Seat) *Layout {
	l := new(Layout)
	for _, s := range seats {
		for i := range uint32(min(max(s.Weight, 0)*pointsPerWeight, pointsPerNode)) { // #nosec G115 -- at most 4096
			l.points = append(l.points, point{avalanche(s.ID*pointsPerNode + i), s.ID})
		}
	}
	slices.SortStableFunc(l.points, func(a, b point) int { return cmp.Compare(a.at, b.at) })
	return l
}

// Place is where a room lies on the circle.
func Place(room string) uint32 { return avalanche(sdbm(room)) }

// Home returns the id of the node at a place, the nearest one; ok is false when the
// ring is empty.
func (l *Layout) Home(place uint32) (id uint32, ok bool) {
	if len(l.points) == 0 {
		return 0, false
	}
	i := l.after(place)
	before, after := l.point(i-1), l.point(i)
	if place-before.at <= after.at-place { // on the circle: the numbers wrap around
		return before.node, true
	}
	return after.node, true
}

// after returns the index of the first point at a place or behind it.
func (l *Layout) after(place uint32) int {
	return sort.Search(len(l.points), func(i int) bool { return l.points[i].at >= place })
}

// point returns a point by an index that may be one beyond either end.
func (l *Layout) point(i int) point {
	return l.points[(i+len(l.points))%len(l.points)]
}

// Shares returns what part of the circle each node has; together they are 1.
func (l *Layout) Shares() map[uint32]float64 {
	shares := make(map[uint32]float64)
	for i, p := range l.points {
		// Half of the way to the neighbour on each side.
		before, after := p.at-l.point(i-1).at, l.point(i+1).at-p.at
		shares[p.node] += (float64(before) + float64(after)) / 2 / (1 << 32)
	}
	return shares
}

// Band cuts the circle into n equal pieces and returns, for each, the node that has
// the middle of it: the ring as it can be drawn.
func (l *Layout) Band(n int) []uint32 {
	band := make([]uint32, 0, n)
	for i := range n {
		place := uint32((2*uint64(i) + 1) << 32 / uint64(2*n)) // #nosec G115 -- below 2^32
		if id, ok := l.Home(place); ok {
			band = append(band, id)
		}
	}
	return band
}

// A Neighbour is a point near a place.
type Neighbour struct {
	ID       uint32 `json:"id"`
	Distance int64  `json:"distance"` // from the place; negative: before it
}

// Around returns the n points before a place and the n behind it, in order.
func (l *Layout) Around(place uint32, n int) []Neighbour {
	n = min(n, len(l.points)/2)
	i := l.after(place)
	var found []Neighbour
	for j := i - n; j < i+n; j++ {
		p := l.point(j)
		found = append(found, Neighbour{p.node, int64(int32(p.at - place))}) // #nosec G115 -- the short way around
	}
	return found
}

// sdbm is the hash of the sdbm library, which is in the public domain.
func sdbm(s string) (h uint32) {
	for i := range len(s) {
		h = uint32(s[i]) + h<<6 + h<<16 - h
	}
	return h
}

// avalanche spreads similar numbers over all 2^32: the first of Bob Jenkins' integer
// hashes (burtleburtle.net/bob/hash/integer.html), times a number near three quarters
// of 2^32, as HAProxy has it.
func avalanche(a uint32) uint32 {
	a = (a + 0x7ed55d16) + a<<12
	a = (a ^ 0xc761c23c) ^ a>>19
	a = (a + 0x165667b1) + a<<5
	a = (a + 0xd3a2646c) ^ a<<9
	a = (a + 0xfd7046c5) + a<<3
	a = (a ^ 0xb55a4f09) ^ a>>16
	return a * 3221225473
}
