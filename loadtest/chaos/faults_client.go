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
		// Less than all at once, so that some are refused.
		env:  []string{"CHATRING_GATEWAY_HANDSHAKES=200", "CHATRING_GATEWAY_HANDSHAKE_BURST=400"},
		rate: 80,
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
		prepare: beLoud,
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

// loudRate is how many messages of 15 KiB a second are said in the loud room.
const loudRate = 100

// beLoud has a room in which much is said, and readers who keep up.
func beLoud(ctx context.Context, s *scene) error {
	loud, stop := context.WithCancel(context.WithoutCancel(ctx))
	var floods sync.WaitGroup
	for range 4 {
		floods.Go(func() { flood(loud, s.front(), "loud-0", 4*time.Second/loudRate) })
	}
	s.cleanup(func() { stop(); floods.Wait() })
	s.crowd = newCrowd(loud, s.front(), "loud", 1, 3)
	s.cleanup(s.crowd.leave)
	return nil
}

// stopReading joins the loud room and reads nothing, until the node has had enough.
func stopReading(ctx context.Context, s *scene) error {
	dialer := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		}), err)
	}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	ws, _, err := websocket.Dial(ctx, "ws://"+s.front()+"/ws/chat/loud-0?user=asleep", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"chatring.v1"}})
	if err != nil {
		return err
	}
	s.cleanup(func() { ws.CloseNow() })
	for limit := time.Now().Add(30 * time.Second); s.watch.noticedAt().IsZero() && time.Now().Before(limit); {
		if !sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

func slowCheck(_ context.Context, s *scene, r *row) error {
	if ended := s.play.last().Ended + s.crowd.hadEnds(); ended != 0 {
		r.wrong("%d other sockets were closed", ended)
	}
	return s.comparePhases(r, []phase{{"", s.began, s.healed}})
}
