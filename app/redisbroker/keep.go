package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// A keep is what an append waits for beside Redis' own answer: that what it
// wrote is on Redis' disk, and on replicas. The zero keep waits for nothing.
type keep struct {
	fsync    bool
	replicas int
	timeout  time.Duration
}

func (o *Options) keep() keep { return keep{o.Fsync, o.Replicas, o.AckTimeout} }

func (k keep) waits() bool { return k.fsync || k.replicas > 0 }

// errNotKept is what an append is answered that has a position, but not what
// it waits for.
var errNotKept = errors.New("not kept in time as redis.ack and redis.replicas ask")

// wait ends a batch: Redis answers it when what this connection wrote is kept,
// or it is too late. It waits outside the scripts, which cannot be made to.
//
// From 7.2 on, Redis waits for the last write of the connection, and for nothing
// on one that has written nothing. So each append must write, one whose key is
// known as well (append.lua).
func (k keep) wait(ctx context.Context, pipe redis.Pipeliner) *redis.Cmd {
	late := max(k.timeout.Milliseconds(), 1) // 0 would wait without end
	switch {
	case k.fsync:
		return pipe.Do(ctx, "waitaof", 1, k.replicas, late)
	case k.replicas > 0:
		return pipe.Do(ctx, "wait", k.replicas, late)
	default:
		return nil
	}
}

// check reads what Redis answers: nil when all is kept, otherwise errNotKept.
// When the connection breaks before, the batch's other commands have its error.
func (k keep) check(wait *redis.Cmd) error {
	if wait == nil {
		return nil
	}
	reply, err := wait.Result()
	if err != nil {
		return fmt.Errorf("%w: %w", errNotKept, err)
	}
	disks, replicas := int64(0), reply
	if both, ok := reply.([]any); ok && len(both) == 2 {
		disks, _ = both[0].(int64)
		replicas = both[1]
	}
	n, ok := replicas.(int64)
	if !ok || n < int64(k.replicas) || k.fsync && disks < 1 {
		return fmt.Errorf("%w: Redis answers %v", errNotKept, reply)
	}
	return nil
}
