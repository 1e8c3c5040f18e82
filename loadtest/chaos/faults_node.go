package main

import (
	"context"
	"syscall"
	"time"
)

var nodeFaults = []fault{
	{
		name:    "kill",
		promise: "A node that dies takes nothing with it, and its members are elsewhere within seconds.",
		quick:   true,
		inject: func(_ context.Context, s *scene) error {
			return s.signal("ws2", syscall.SIGKILL)
		},
		hold:        3 * time.Second,
		heal:        func(ctx context.Context, s *scene) error { return s.again(ctx, "ws2") },
		healsItself: true,
		noticed:     socketsEnded,
		within:      bounds{notice: time.Second, repair: 8 * time.Second, silence: 3 * time.Second},
	},
}
