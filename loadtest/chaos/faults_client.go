package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

var clientFaults = []fault{
	{
		name:    "storm",
		promise: "All members of 1,000 rooms come back at once, those of a dead node to nodes that have never seen their rooms: two reads of Redis a room at the most, and whoever is refused is told when to come back.",
		rate:    60,
		prepare: func(ctx context.Context, s *scene) error {
			if err := s.throughProxy(); err != nil {
				return err
			}
			s.entrance = s.front() // the conversation goes on beside the storm
			return s.seat(ctx, s.street.addr, stormRooms, stormMembers)
		},
		inject:      storm,
		healsItself: true,
		within:      bounds{repair: 20 * time.Second},
	},
}

const (
	stormRooms   = 1000
	stormMembers = 3
)

// seat brings members of a crowd into rooms, and says something in each.
func (s *scene) seat(ctx context.Context, entrance string, rooms, members int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i := range rooms {
		room := fmt.Sprintf("crowd-%d", i)
		sp, err := speak(ctx, s.front(), room, "host")
		if err != nil {
			return err
		}
		err = sp.publish(ctx, room, i)
		sp.close()
		if err != nil {
			return err
		}
	}
	s.crowd = newCrowd(context.WithoutCancel(ctx), entrance, "crowd", rooms, members)
	s.cleanup(s.crowd.leave)
	return s.crowd.await(ctx, rooms*members)
}

func storm(ctx context.Context, s *scene) error {
	all := stormRooms * stormMembers
	before, err := s.logReads(ctx)
	if err != nil {
		return err
	}
	if err := s.signal("ws2", syscall.SIGKILL); err != nil {
		return err
	}
	s.street.cut(1)
	// Nobody is there, soon: the sockets of the dead node end with it.
	for s.crowd.present() > all/2 {
		if !sleep(ctx, time.Millisecond) {
			return ctx.Err()
		}
	}
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.crowd.await(limit, all*99/100); err != nil {
		s.wrong("%v", err)
	}
	took := time.Since(s.began)
	after, err := s.logReads(ctx)
	if err != nil {
		return err
	}
	refused, unhinted, failed := s.crowd.refusals()
	reads := float64(after-before) / stormRooms
	s.note("99 %% of %d were back after %.1f s; %.2f reads of Redis a room; %d refused, %d of them without a time; %d unanswered handshakes",
		all, took.Seconds(), reads, refused, unhinted, failed)
	if reads > 2 {
		s.wrong("%.1f reads of Redis a room", reads)
	}
	if after == before {
		s.wrong("Redis was not read at all: nothing was shown")
	}
	if unhinted > 0 {
		s.wrong("%d were refused and not told when to come back", unhinted)
	}
	return nil
}
