package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

var (
	errNoEcho = errors.New("a probe was published and did not come back")
	errDeaf   = errors.New("the connection is unknown to Redis")
)

// ErrLoss says that Redis has lost data without breaking a connection.
var ErrLoss = errors.New("data that Redis had is gone")

// probe publishes to the node's own channel and expects to hear it on the
// connection, again and again. TCP and PING can look well on a connection that
// hears nothing; an echo cannot. When Redis does not take the probe at all,
// that says nothing about the connection, and it is left alone: it comes back
// with Redis, or the next probe finds it out.
//
// With each probe goes a beat. Where it shows that data is lost, the connection
// ends too, so that the sink hears Resumed; a loss that shows before the
// connection has all rooms needs no more than the Resumed that follows.
func (c *connection) probe(ctx context.Context) error {
	if lost := c.bridge.beat(ctx); lost && c.isSettled() {
		return fmt.Errorf("probe: %w", ErrLoss)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.settled:
	case <-time.After(maxSettle):
		return errUnsettled
	}
	o := c.bridge.broker.options
	tick := time.NewTicker(o.ProbeEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := c.probeOnce(ctx, strconv.Itoa(n), o.ProbeTimeout); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		if c.bridge.beat(ctx) {
			return fmt.Errorf("probe: %w", ErrLoss)
		}
	}
}

func (c *connection) isSettled() bool {
	select {
	case <-c.settled:
		return true
	default:
		return false
	}
}

func (c *connection) probeOnce(ctx context.Context, n string, timeout time.Duration) error {
	reached, err := c.bridge.broker.reads.Publish(ctx, c.channel, kindProbe+" "+n).Result()
	if err != nil {
		return ctx.Err()
	}
	c.bridge.broker.counters.probes.Add(1)
	if reached == 0 {
		return errDeaf
	}
	late := time.After(timeout)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return errNoEcho
		case echo := <-c.echoes:
			if echo == n {
				return nil
			}
		}
	}
}
