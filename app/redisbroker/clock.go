package redisbroker

import (
	"context"
	"time"
)

// maxClockAge is how old a reading may get until it is taken anew: two clocks
// that differ by 500 ppm, the most that NTP slews, part by 30 ms in it.
const maxClockAge = time.Minute

// A clock is a reading of Redis' clock: Redis said theirs, and this node heard
// it at ours. The way back is not known and counted as none, so Redis' clock is
// taken to be slower than it is by that way: what Redis refuses as too late
// could not have been answered in time either.
//
// The zero clock, and one that Redis has stepped away from, are wrong by years
// or hours. Redis then refuses what it is sent, and the reading that comes with
// its refusal mends the clock.
type clock struct{ theirs, ours time.Time }

// end is when ctx ends, in milliseconds of Redis' clock; 0 if it does not.
func (c clock) end(ctx context.Context) int64 {
	end, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return c.theirs.Add(end.Sub(c.ours)).UnixMilli()
}
