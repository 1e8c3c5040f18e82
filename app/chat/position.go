package chat

import (
	"cmp"
	"errors"
	"math"
	"strconv"
	"strings"
)

// A Position is a publication's place in its room's log. It prints as
// "<epoch>-<offset>", which is the Redis Stream ID of the entry.
//
// Offsets count from 0 within an epoch, without holes. A new epoch begins when a
// node notices that the log has lost its tail, so that no position is given
// twice from then on; epochs grow, so that positions of one room are ordered by
// (Epoch, Offset).
//
// The zero Position stands before everything that a room ever said.
type Position struct {
	Epoch  uint64 // milliseconds since 1970 at the epoch's beginning
	Offset uint64
}

// ErrPosition is the error of ParsePosition.
var ErrPosition = errors.New(`a position looks like "1763776000000-42"`)

// ParsePosition reads what String prints, and nothing else: one position has
// one spelling.
func ParsePosition(s string) (Position, error) {
	epoch, offset, ok := strings.Cut(s, "-")
	if !ok {
		return Position{}, ErrPosition
	}
	var p Position
	if p.Epoch, ok = parseUint(epoch); !ok {
		return Position{}, ErrPosition
	}
	if p.Offset, ok = parseUint(offset); !ok {
		return Position{}, ErrPosition
	}
	return p, nil
}

func parseUint(s string) (uint64, bool) {
	if s == "" || (s[0] == '0' && s != "0") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func (p Position) String() string { return string(p.Append(nil)) }

// Append appends the printed position to b.
func (p Position) Append(b []byte) []byte {
	b = strconv.AppendUint(b, p.Epoch, 10)
	b = append(b, '-')
	return strconv.AppendUint(b, p.Offset, 10)
}

// Prev returns the greatest position before p, whether or not it was ever
// given, and p itself when nothing is before it.
func (p Position) Prev() Position {
	switch {
	case p.Offset > 0:
		return Position{p.Epoch, p.Offset - 1}
	case p.Epoch > 0:
		return Position{p.Epoch - 1, math.MaxUint64}
	}
	return p
}

// IsZero says whether p stands before everything.
func (p Position) IsZero() bool { return p == Position{} }

// Compare orders positions of one room: -1 when p comes before q, 0 when they
// are the same, +1 when p comes after q.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Epoch, q.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(p.Offset, q.Offset)
}

// Before says whether p comes before q in one room.
func (p Position) Before(q Position) bool { return p.Compare(q) < 0 }

// Follows says whether nothing can stand between q and p: p is the next of its
// epoch, or it is a room's very first.
func (p Position) Follows(q Position) bool {
	if q.IsZero() {
		return p.Offset == 0 && p.Epoch != 0
	}
	return p.Epoch == q.Epoch && p.Offset == q.Offset+1
}
