package redisbroker

import (
	"context"
	"time"
)

// maxClockAge is how old a reading may be: two clocks that differ by 500 ppm, the
// most that NTP slews, part by 30 ms in it.
const maxClockAge = time.Minute

// A clock is a reading of Redis' clock: Redis said theirs, and this node heard
// it at ours. The way back is not known and counted as none, so Redis' clock is
// taken to be slower than it is by that way: what Redis refuses as too late
// could not have been answered in time either.
//
// By the zero clock everything is too late, and so it is by one that Redis has
// stepped ahead of. Redis then refuses what it is sent, and its clock is read
// anew. One that Redis has stepped back from lets drafts live too long, until the
// next answer.
type clock struct{ theirs, ours time.Time }

// end is when ctx ends, in milliseconds of Redis' clock; 0 if it does not.
func (c clock) end(ctx context.Context) int64 {
	end, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return c.theirs.Add(end.Sub(c.ours)).UnixMilli()
}
