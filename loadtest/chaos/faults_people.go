package main

import (
	"context"
	"syscall"
	"time"
)

// What stands on rooms (inboxes, direct rooms, edits, what services say) is to hold
// what rooms hold.
const peoplePromise = "Every notification, direct message and edit that was acknowledged is there for its reader, once, and in order for those who listen; "

var peopleFaults = []fault{
	{
		name:    "people-kill",
		promise: peoplePromise + "while a node dies.",
		prepare: seatPeople,
		inject: func(_ context.Context, s *scene) error {
			return s.signal("ws2", syscall.SIGKILL)
		},
		hold:        3 * time.Second,
		heal:        func(ctx context.Context, s *scene) error { return s.again(ctx, "ws2") },
		healsItself: true,
		noticed:     socketsEnded,
		within:      bounds{notice: time.Second, repair: 8 * time.Second, silence: 3 * time.Second},
		check:       askPeople,
	},
	{
		name:    "people-redis",
		promise: peoplePromise + "while Redis dies and comes back.",
		prepare: seatPeople,
		inject: func(_ context.Context, s *scene) error {
			return s.signal("redis", syscall.SIGKILL)
		},
		hold:    time.Second,
		heal:    redisAgain,
		noticed: interrupted,
		within:  bounds{notice: time.Second, repair: 3 * time.Second},
		check:   askPeople,
	},
}

// seatPeople lets a service and a writer begin, and their readers listen.
func seatPeople(ctx context.Context, s *scene) error {
	var err error
	s.people, err = beginPeople(ctx, s.front())
	if err == nil {
		s.cleanup(s.people.end)
	}
	return err
}

// askPeople ends what people do and holds what readers have against what was
// acknowledged.
func askPeople(ctx context.Context, s *scene, r *row) error {
	s.people.end()
	found, err := s.people.judge(ctx)
	if err != nil {
		return err
	}
	for _, wrong := range found {
		r.wrong("%s", wrong)
	}
	p := s.people
	if p.notified < 20 || p.written < 20 || p.edited < 4 {
		r.wrong("%d notifications, %d direct messages, %d edits: too few to show anything", p.notified, p.written, p.edited)
	}
	r.note("%d notifications to each of %d users, %d of whom listened; %d direct messages, %d edits; %d tries more than those", p.notified, readers, listeners, p.written, p.edited, p.again)
	return nil
}
