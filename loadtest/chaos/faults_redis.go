package main

import (
	"context"
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
		heal:    func(ctx context.Context, s *scene) error { return s.again(ctx, "redis") },
		noticed: interrupted,
		within:  bounds{notice: time.Second, repair: 3 * time.Second},
	},
	{
		name:    "redis-pause",
		promise: "While Redis is silent for 30 s, publishes are answered with unavailable and a hint, nodes stay on the ring, and what waits is bounded.",
		inject: func(_ context.Context, s *scene) error {
			return s.signal("redis", syscall.SIGSTOP)
		},
		hold: 30 * time.Second,
		heal: func(_ context.Context, s *scene) error {
			return s.signal("redis", syscall.SIGCONT)
		},
		noticed: anyOf(interrupted, refusing),
		within:  bounds{notice: 6 * time.Second, repair: 5 * time.Second},
	},
	{
		name:    "bridge-blackhole",
		promise: "A bridge that swallows everything while TCP stays up is noticed in 3 s, and members of a room on several nodes miss nothing.",
		quick:   true,
		split:   true,
		inject: func(_ context.Context, s *scene) error {
			for _, p := range s.redis {
				p.swallows(bridges)
			}
			return nil
		},
		hold: 4 * time.Second,
		heal: func(_ context.Context, s *scene) error {
			for _, p := range s.redis {
				p.heal()
			}
			return nil
		},
		noticed: interrupted,
		within:  bounds{notice: 3 * time.Second, repair: 8 * time.Second},
	},
}
