package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A fault is one row of the table: what is done to a cluster that serves a real
// conversation, and what it promises then.
type fault struct {
	name    string
	promise string // one sentence, which the row proves
	quick   bool   // is one of those that scripts/test runs

	// split puts the members of each room on all nodes, so that what they hear
	// depends on the bridge. Otherwise they come through HAProxy.
	split bool
	env   []string // of scripts/up
	rate  float64  // messages per second, where the usual ones would be said too soon

	// build makes a node of its own for this fault; prepare is called when the cluster
	// is up and nobody is in it. Both may be nil.
	build   func(ctx context.Context, r *runner) (binary string, err error)
	prepare func(ctx context.Context, s *scene) error

	// inject begins the fault and returns when it has begun; hold is how long it
	// lasts; heal ends it, and returns when it is over. heal may be nil.
	inject func(ctx context.Context, s *scene) error
	hold   time.Duration
	heal   func(ctx context.Context, s *scene) error
	// healsItself says that members need not wait for heal, which only tidies up:
	// the time to repair counts from the beginning.
	healsItself bool

	// noticed says, of what can be seen from outside, whether somebody has noticed.
	noticed func(before, now reading) bool

	within bounds
	// check looks at what is promised beside the conversation. It may be nil.
	check func(ctx context.Context, s *scene, r *row) error
}

// bounds are what the times of a row may be; zero is no bound.
type bounds struct {
	notice  time.Duration // from the beginning of the fault
	repair  time.Duration // from its end, or from its beginning when it heals itself
	silence time.Duration // without any acknowledgement
}

// A scene is one fault at work.
type scene struct {
	*cluster
	runner *runner
	fault  fault
	play   *play
	watch  *watch
	// What some faults bring along.
	crowd    *crowd
	streets  []*proxy // between the players and their doors
	phases   []phase  // of a rolling restart
	sockets  float64  // that a node had
	doorFile string   // HAProxy's file, to be edited
	// descriptors is the limit that a node had.
	descriptors int
	loud        *loud
	newcomers   *crowd
	people      *people

	// entrances are where the players come in; prepare may change them.
	entrances []string
	began     time.Time // of the fault
	healed    time.Time // from when on the time to repair counts
	over      time.Time // when there was nothing left to be done
	// cleanups are done in reverse order, whatever happens.
	cleanups []func()
	// notes are figures of this fault alone, for the table's last column.
	notes []string
	// broken are promises that inject and heal have seen broken.
	broken []string
}

func (s *scene) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

func (s *scene) wrong(format string, args ...any) {
	s.broken = append(s.broken, fmt.Sprintf(format, args...))
}
func (s *scene) cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// faults are all of them, in the order of the table.
func faults() []fault {
	return slices.Concat(nodeFaults, redisFaults, doorFaults, networkFaults, crowdFaults, peopleFaults, clockFaults, hostFaults)
}

// pick finds faults by name.
func pick(names []string, quick bool) ([]fault, error) {
	var picked []fault
	for _, f := range faults() {
		if len(names) == 0 && (f.quick || !quick) || slices.Contains(names, f.name) {
			picked = append(picked, f)
		}
	}
	var known []string
	for _, f := range faults() {
		known = append(known, f.name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no fault is called %q; there are: %s", name, strings.Join(known, " "))
		}
	}
	return picked, nil
}
