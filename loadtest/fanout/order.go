package main

// An order is what one member has heard, by publisher. Each publisher counts its
// messages from 0, so that every member must hear 0, 1, 2, … of each.
type order struct {
	next    []uint64 // by publisher: the count that is due
	holes   []hole   // what was skipped, and may still come
	late    int64    // came behind a later one of the same publisher
	doubled int64    // came again
}

// A hole is counts that were skipped, from one up to and without another.
type hole struct {
	publisher int
	from, to  uint64
}

// hear takes note of a message.
func (o *order) hear(publisher int, count uint64) {
	for publisher >= len(o.next) {
		o.next = append(o.next, 0)
	}
	next := o.next[publisher]
	switch {
	case count == next:
	case count > next:
		o.holes = append(o.holes, hole{publisher, next, count})
	case o.fill(publisher, count):
		o.late++
		return
	default:
		o.doubled++
		return
	}
	o.next[publisher] = count + 1
}

// fill takes a count out of the hole that it is missing from, if any.
func (o *order) fill(publisher int, count uint64) bool {
	for i, h := range o.holes {
		if h.publisher != publisher || count < h.from || count >= h.to {
			continue
		}
		o.holes[i].to = count
		if count+1 < h.to {
			o.holes = append(o.holes, hole{publisher, count + 1, h.to})
		}
		return true
	}
	return false
}
