package main

import (
	"fmt"
	"strconv"
	"strings"
)

// A position is a message's place in its room, read from the wire by this
// program itself: the checker shares no code with what it checks.
type position struct{ epoch, offset uint64 }

func parsePosition(s string) (position, error) {
	epoch, offset, _ := strings.Cut(s, "-")
	e, err := strconv.ParseUint(epoch, 10, 64)
	o, err2 := strconv.ParseUint(offset, 10, 64)
	if err != nil || err2 != nil {
		return position{}, fmt.Errorf("position %q: %w", s, errTerminal)
	}
	return position{e, o}, nil
}

func (p position) String() string { return fmt.Sprintf("%d-%d", p.epoch, p.offset) }

func (p position) before(q position) bool {
	return p.epoch < q.epoch || p.epoch == q.epoch && p.offset < q.offset
}

// follows says whether nothing can stand between q and p.
func (p position) follows(q position) bool {
	if q == (position{}) {
		return p.epoch != 0 && p.offset == 0
	}
	return p.epoch == q.epoch && p.offset == q.offset+1
}
