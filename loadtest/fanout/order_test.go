package main

import "testing"

// Ensure that what is skipped, late or doubled is told apart, for each publisher.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name          string
		heard         []int // of publisher 0 from 0, of publisher 1 from 100
		late, doubled int64
	}{
		{"in order", []int{0, 100, 1, 2, 101, 102, 3}, 0, 0},
		{"one is skipped", []int{0, 1, 3, 4}, 0, 0},
		{"one is late", []int{0, 2, 1, 3}, 1, 0},
		{"several are late", []int{0, 5, 3, 1, 2, 4, 6}, 4, 0},
		{"one comes again", []int{0, 1, 2, 1, 3}, 0, 1},
		{"one is late, and comes again", []int{0, 2, 1, 1, 3}, 1, 1},
		{"another's of the same count", []int{0, 100, 1, 101}, 0, 0},
		{"another's does not fill a hole", []int{0, 2, 100, 101, 101}, 0, 1},
	} {
		var o order
		for _, n := range c.heard {
			o.hear(n/100, uint64(n%100))
		}
		if o.late != c.late || o.doubled != c.doubled {
			t.Errorf("%s: %d late, %d doubled; want %d, %d", c.name, o.late, o.doubled, c.late, c.doubled)
		}
	}
}

// Ensure that what has not come is missing, though something else came twice.
func TestMissing(t *testing.T) {
	r := &room{members: []*member{{said: 3}, {said: 1}}}
	for _, m := range r.members {
		for _, n := range []int{0, 100, 2, 2} {
			m.heard++
			m.order.hear(n/100, uint64(n%100))
		}
	}
	if got, want := missing([]*room{r}), int64(2); got != want {
		t.Errorf("missing %d, want %d: one at each member", got, want)
	}
}
