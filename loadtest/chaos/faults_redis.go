package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

var redisFaults = []fault{
	{
		name:    "redis-kill",
		promise: "A Redis that dies and comes back on its append-only file costs time and nothing else; no node restarts.",
		quick:   true,
		inject: func(_ context.Context, s *scene) error {
			return s.signal("redis", syscall.SIGKILL)
		},
		hold:    time.Second,
		heal:    redisAgain,
		noticed: interrupted,
		within:  bounds{notice: time.Second, repair: 3 * time.Second},
	},
	{
		name:    "redis-restart",
		promise: "The same for a Redis that is told to stop, and starts again.",
		inject:  func(_ context.Context, s *scene) error { return s.signal("redis", syscall.SIGTERM) },
		hold:    time.Second,
		heal:    redisAgain,
		noticed: interrupted,
		within:  bounds{notice: time.Second, repair: 3 * time.Second},
	},
	{
		name:    "redis-pause",
		promise: "While Redis is silent for 30 s, publishes are answered with unavailable, nodes say degraded and stay on the ring, and afterwards nothing needs a restart.",
		inject:  func(_ context.Context, s *scene) error { return s.signal("redis", syscall.SIGSTOP) },
		hold:    30 * time.Second,
		heal: func(_ context.Context, s *scene) error {
			if now := s.watch.latest(); !now.degraded || now.sum(`chatring_errors_total{code="unavailable"}`) == 0 {
				s.wrong("no node says that it is degraded, or nobody was answered with unavailable")
			}
			return s.signal("redis", syscall.SIGCONT)
		},
		noticed: outage,
		within:  bounds{notice: 3 * time.Second, repair: 6 * time.Second},
	},
	{
		name:    "bridge-blackhole",
		promise: "A bridge that swallows everything while TCP stays up is noticed in 3 s, and members of a room on several nodes miss nothing.",
		quick:   true,
		split:   true,
		inject:  func(_ context.Context, s *scene) error { return s.swallow(bridges, 1, 2, 3, 4) },
		hold:    4 * time.Second,
		heal:    healProxies,
		noticed: interrupted,
		within:  bounds{notice: 3 * time.Second, repair: 8 * time.Second},
	},
	{
		name:    "redis-blackhole",
		promise: "All ways to Redis swallow everything while TCP stays up: nodes notice in 3 s, and go on when it is over.",
		inject:  func(_ context.Context, s *scene) error { return s.swallow(everything, 1, 2, 3, 4) },
		hold:    8 * time.Second,
		heal:    healProxies,
		noticed: outage,
		within:  bounds{notice: 3 * time.Second, repair: 10 * time.Second},
	},
	{
		name:    "deaf-node",
		promise: "One node that Redis hears and that hears nothing of Redis is noticed in 3 s, and its members miss nothing, in rooms that live on all nodes.",
		split:   true,
		inject:  func(_ context.Context, s *scene) error { return s.swallow(answers, 2) },
		hold:    6 * time.Second,
		heal:    healProxies,
		noticed: outage,
		within:  bounds{notice: 3 * time.Second, repair: 10 * time.Second},
	},
	{
		name:    "lost-answers",
		promise: "An answer that is lost after the append ran doubles nothing: the append is sent again under its key.",
		quick:   true,
		inject: func(_ context.Context, s *scene) error {
			for _, p := range s.redis {
				p.loses("evalsha", 10)
			}
			return nil
		},
		hold: 4 * time.Second,
		heal: healProxies,
		check: func(_ context.Context, s *scene, r *row) error {
			lost := 0
			for _, p := range s.redis {
				lost += p.lostAnswers()
			}
			again := s.watch.latest().sum("chatring_append_duplicates_total")
			r.note("%d answers lost, %.0f drafts had their position already", lost, again)
			if lost < 10 || again == 0 {
				return errors.New("hardly an answer was lost: nothing was shown")
			}
			return nil
		},
		within: bounds{repair: 3 * time.Second, silence: 2 * time.Second},
	},
	{
		name:    "bridge-kills",
		promise: "Bridges that Redis cuts again and again lose nothing, in rooms that live on all nodes.",
		split:   true,
		inject: func(ctx context.Context, s *scene) error {
			for range 20 {
				if _, err := s.ask(ctx, "client", "kill", "type", "pubsub"); err != nil {
					return err
				}
				if !sleep(ctx, 200*time.Millisecond) {
					return ctx.Err()
				}
			}
			return nil
		},
		heal:    func(context.Context, *scene) error { return nil },
		noticed: interrupted,
		within:  bounds{notice: time.Second, repair: 3 * time.Second},
	},
	{
		name:    "redis-older",
		promise: "A Redis that comes back from an older copy loses nothing while nodes live: they notice, append again what it has lost, also in rooms in which nobody speaks, and tell members.",
		quick:   true,
		prepare: seatSilent,
		inject:  redisComesBackOlder,
		noticed: logLost,
		within:  bounds{notice: 6 * time.Second, repair: 8 * time.Second},
		check:   wasHealed,
	},
	{
		name:    "flushall",
		promise: "The same after FLUSHALL, which breaks no connection.",
		prepare: seatSilent,
		inject: func(ctx context.Context, s *scene) error {
			if _, err := s.ask(ctx, "flushall"); err != nil {
				return err
			}
			return s.awaitSilent(ctx, silentRooms)
		},
		noticed: logLost,
		within:  bounds{notice: 3 * time.Second, repair: 5 * time.Second},
		check:   wasHealed,
	},
	{
		name:    "redis-full",
		promise: "A Redis without memory refuses, forgets nothing, and goes on when it has some again.",
		inject: func(ctx context.Context, s *scene) error {
			_, err := s.ask(ctx, "config", "set", "maxmemory", "1mb")
			return err
		},
		hold: 4 * time.Second,
		heal: func(ctx context.Context, s *scene) error {
			_, err := s.ask(ctx, "config", "set", "maxmemory", "0")
			return err
		},
		noticed: outage,
		within:  bounds{notice: time.Second, repair: 6 * time.Second},
	},
}

// outage is any sign that Redis does not do what it is asked.
var outage = anyOf(interrupted, refusing, degraded)

// logLost is a node that says that a log has lost its tail.
func logLost(before, now reading) bool {
	return rose(before, now, "chatring_resets_total") || rose(before, now, "chatring_restored_total")
}

func wasHealed(_ context.Context, s *scene, r *row) error {
	restored := s.watch.latest().sum("chatring_restored_total")
	r.note("%.0f messages appended again", restored)
	if restored == 0 || r.Declared == 0 {
		return errors.New("no log had lost anything, or no member was told: nothing was shown")
	}
	return nil
}

// silentRooms is how many rooms have a member and a message, and nobody who speaks.
const silentRooms = 50

func seatSilent(ctx context.Context, s *scene) error { return s.seat(ctx, s.front(), silentRooms, 1) }

// silentWithin is how long the logs of silent rooms may be without what they lost
// when the nodes' bridges are there.
const silentWithin = 2 * time.Second

// awaitSilent waits until the logs of the silent rooms hold so many messages again,
// in all.
func (s *scene) awaitSilent(ctx context.Context, want int) error {
	begun := time.Now()
	count := fmt.Sprintf("local n = 0 for i = 0, %d do n = n + redis.call('xlen', 'chatring:{crowd-' .. i .. '}:log') end return n", silentRooms-1)
	for {
		got, err := s.ask(ctx, "eval", count, "0")
		if err != nil {
			return err
		}
		took := time.Since(begun)
		switch {
		case got == strconv.Itoa(want):
			s.note("%d silent rooms whole again after %.1f s", silentRooms, took.Seconds())
			return nil
		case took.Seconds() > s.runner.slack()*silentWithin.Seconds():
			s.wrong("the logs of silent rooms have %s messages after %.1f s, not %d", got, took.Seconds(), want)
			return nil
		case !sleep(ctx, 50*time.Millisecond):
			return ctx.Err()
		}
	}
}

func redisAgain(ctx context.Context, s *scene) error { return s.again(ctx, "redis") }

// swallow loses bytes between some nodes and Redis.
func (s *scene) swallow(match func(h heading, said []byte) bool, of ...int) error {
	for _, i := range of {
		s.redis[i-1].swallows(match)
	}
	return nil
}

func healProxies(_ context.Context, s *scene) error {
	for _, p := range s.redis {
		p.heal()
	}
	return nil
}

// redisComesBackOlder copies Redis' files, lets the conversation go on, kills Redis,
// and starts it again on the copy.
func redisComesBackOlder(ctx context.Context, s *scene) error {
	files, older := filepath.Join(s.state, "redis", "appendonlydir"), filepath.Join(s.state, "redis", "older")
	if err := os.CopyFS(older, os.DirFS(files)); err != nil {
		return err
	}
	if _, err := sayEverywhere(ctx, s.front(), "crowd", silentRooms); err != nil {
		return err
	}
	if !sleep(ctx, time.Second) {
		return ctx.Err()
	}
	s.began = time.Now()
	pid, err := s.pid("redis")
	if err != nil {
		return err
	}
	if err := s.signal("redis", syscall.SIGKILL); err != nil {
		return err
	}
	if err := awaitEnd(ctx, pid); err != nil {
		return err
	}
	if err := os.RemoveAll(files); err != nil {
		return err
	}
	if err := os.Rename(older, files); err != nil {
		return err
	}
	if err := s.again(ctx, "redis"); err != nil {
		return err
	}
	return s.awaitSilent(ctx, 2*silentRooms)
}
