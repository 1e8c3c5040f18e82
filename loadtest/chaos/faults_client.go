package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
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
	{
		name:    "slow-reader",
		promise: "One reader that stops reading in a loud room is closed as a slow consumer, costs its node a bounded outbox, and closes nobody else.",
		inject:  stopReading,
		heal:    func(context.Context, *scene) error { return nil },
		noticed: func(before, now reading) bool { return rose(before, now, "chatring_slow_consumers_total") },
		within:  bounds{notice: 20 * time.Second, repair: 2 * time.Second, silence: 2 * time.Second},
		check:   slowCheck,
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
		if err := s.sayOnce(ctx, fmt.Sprintf("crowd-%d", i)); err != nil {
			return err
		}
	}
	s.crowd = newCrowd(context.WithoutCancel(ctx), entrance, "crowd", rooms, members)
	s.cleanup(s.crowd.leave)
	return s.crowd.await(ctx, rooms*members)
}

// sayOnce says something in a room.
func (s *scene) sayOnce(ctx context.Context, room string) error {
	sp, err := speak(ctx, s.front(), room, "host")
	if err != nil {
		return err
	}
	defer sp.close()
	return sp.publish(ctx, room, "here")
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

// stopReading joins a loud room and reads nothing any more, until the fault is over
// or the node has had enough.
func stopReading(ctx context.Context, s *scene) error {
	loud, stop := context.WithTimeout(context.WithoutCancel(ctx), 25*time.Second)
	dialer := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		}), err)
	}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	ws, _, err := websocket.Dial(ctx, "ws://"+s.front()+"/ws/chat/loud?user=asleep", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"chatring.v1"}})
	if err != nil {
		stop()
		return err
	}
	var floods sync.WaitGroup
	for range 4 {
		floods.Go(func() { flood(loud, s.front(), "loud") })
	}
	s.cleanup(func() { stop(); floods.Wait(); ws.CloseNow() })
	for s.watch.noticedAt().IsZero() && sleep(loud, 20*time.Millisecond) {
	}
	stop()
	floods.Wait()
	return nil
}

func slowCheck(_ context.Context, s *scene, r *row) error {
	quiet, during := untouched(s.play.all(), s.began, []phase{{"", s.began, s.healed}})
	if len(quiet) < 100 || len(during) < 100 {
		return errors.New("too little was heard to compare")
	}
	r.note("p99 of the others %.1f ms, %.1f ms before", quantile(during, 0.99), quantile(quiet, 0.99))
	if ended := s.play.last().Ended; ended != 0 {
		r.wrong("%d other sockets were closed", ended)
	}
	return nil
}
