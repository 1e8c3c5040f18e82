package redisstore

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hooks"
	"github.com/chatring/chatring/app/redisconn"
)

var (
	//go:embed hooks.lua
	hooksSource string
	//go:embed hooks_occupied.lua
	occupiedSource string
	//go:embed hooks_left.lua
	leftSource string
	//go:embed hooks_sweep.lua
	sweepSource string

	occupiedScript = newScript("#!lua\n" + hooksSource + occupiedSource)
	leftScript     = newScript("#!lua\n" + hooksSource + leftSource)
	sweepScript    = newScript("#!lua\n" + hooksSource + sweepSource)
)

// What is kept for the hooks.
const (
	// WebhooksName is that of the queue of what the application is to be told.
	WebhooksName = "webhooks"

	webhooksKey = redisconn.Prefix + WebhooksName
	occupiedKey = webhooksKey + ":occupied"
	sweepKey    = webhooksKey + ":sweep"
)

const (
	// sweepCount is how many rooms are looked at in one run of the script: about a
	// millisecond's worth.
	sweepCount = 1000
	sweepEvery = time.Second
)

// Hooks is the directory of the hooks. It implements hooks.Directory.
type Hooks struct {
	*Store
	// Backlog is how many events may wait for the application.
	Backlog int
	// Grace is how long nobody may hear a room before a sweep takes it for vacated.
	Grace time.Duration
}

var _ hooks.Directory = Hooks{}

// Occupied implements hooks.Directory.
func (s Hooks) Occupied(ctx context.Context, rooms []chat.RoomID) error {
	return s.hear(ctx, occupiedScript, "occupied", rooms)
}

// Left implements hooks.Directory.
func (s Hooks) Left(ctx context.Context, rooms []chat.RoomID) error {
	return s.hear(ctx, leftScript, "left", rooms)
}

func (s Hooks) hear(ctx context.Context, script *script, what string, rooms []chat.RoomID) error {
	args := make([]any, 0, 1+len(rooms))
	args = append(args, s.Backlog)
	for _, room := range rooms {
		args = append(args, string(room))
	}
	if _, err := s.run(ctx, script, []string{occupiedKey, webhooksKey}, args...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Sweep implements hooks.Directory.
func (s Hooks) Sweep(ctx context.Context) (more bool, err error) {
	reply, err := s.run(ctx, sweepScript, []string{occupiedKey, webhooksKey, sweepKey},
		s.Backlog, s.Grace.Milliseconds(), sweepCount, sweepEvery.Milliseconds())
	if err != nil {
		return false, fmt.Errorf("sweep: %w", err)
	}
	return reply == int64(1), nil
}
