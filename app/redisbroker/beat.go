package redisbroker

import (
	"context"
	"crypto/rand"

	"github.com/redis/go-redis/v9"
)

// A pulse is what a beat finds in Redis. The zero pulse is that of a node that
// has found nothing yet.
type pulse struct {
	run   string // of the server's process, as it calls itself; "" if it does not
	born  string // when the count began; a count that begins anew has another
	count int64
}

// lost says whether data that was there at the pulse before is gone, or may be
// since another process answers.
func (p pulse) lost(before pulse) bool {
	return before != (pulse{}) && (p.run != before.run || p.born != before.born || p.count <= before.count)
}

// beat raises the count that all nodes share, once, and says whether it shows
// that Redis has lost data since the last beat, though no connection need have
// broken: by FLUSHALL, or because something between us and Redis has put an
// older one in its place. It asks for no room, so it costs the same for one and
// for thousands. An error proves nothing: a full Redis, or one that may not be
// written to, has what it had.
func (b *bridge) beat(ctx context.Context) (lost bool) {
	var server *redis.InfoCmd
	var born *redis.StringCmd
	var count *redis.IntCmd
	_, err := b.broker.reads.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.HSetNX(ctx, beatKey, "born", rand.Text())
		born = pipe.HGet(ctx, beatKey, "born")
		count = pipe.HIncrBy(ctx, beatKey, "count", 1)
		server = pipe.InfoMap(ctx, "server")
		return nil
	})
	if redis.HasErrorPrefix(err, "NOPERM") {
		b.broker.options.Log.Warn("Redis refuses the beat: what it loses is noticed late", "error", err)
	}
	if err != nil {
		return false
	}
	found := pulse{run: server.Item("Server", "run_id"), born: born.Val(), count: count.Val()}
	lost = found.lost(b.pulse)
	b.pulse = found
	return lost
}
