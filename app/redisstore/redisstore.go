// Package redisstore keeps in Redis what is not a room's log: each of its files is
// the store of one module, with the scripts that it runs. It knows nothing of
// sessions, and the modules know nothing of Redis.
package redisstore

import (
	"context"
	"crypto/sha1" // #nosec G505 -- Redis names scripts by it
	"encoding/hex"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/redisconn"
)

// poolSize is how many questions of this node are out at once.
const poolSize = 16

// A Store is one node's way to what is kept. All methods may be called
// concurrently; their errors wrap chat.ErrUnavailable.
type Store struct {
	client *redis.Client
}

// New returns a Store over connections as redisconn.Options has them. It connects
// when it is asked something.
func New(o redis.Options) *Store {
	o.MaxRetries = 1 // whoever writes a script sees to it that to run twice is harmless
	o.PoolSize = poolSize
	o.MaxActiveConns = poolSize
	return &Store{client: redis.NewClient(&o)}
}

// Close ends its connections.
func (s *Store) Close() error { return s.client.Close() }

// A script is a Lua text and the name by which Redis knows it.
type script struct{ source, sha string }

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source)) // #nosec G401 -- as above
	return &script{source, hex.EncodeToString(sum[:])}
}

// run runs a script, which Redis is given first when it does not know it.
func (s *Store) run(ctx context.Context, script *script, keys []string, args ...any) (any, error) {
	reply, err := s.client.EvalSha(ctx, script.sha, keys, args...).Result()
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err = s.client.ScriptLoad(ctx, script.source).Err(); err == nil {
			reply, err = s.client.EvalSha(ctx, script.sha, keys, args...).Result()
		}
	}
	if err != nil && err != redis.Nil { //nolint:errorlint // it is never wrapped
		return nil, fmt.Errorf("%w: %w", chat.ErrUnavailable, err)
	}
	return reply, nil
}

// runEach runs a script once for each list of arguments, all in one round trip. They
// must be such that to run twice is harmless.
func (s *Store) runEach(ctx context.Context, script *script, keys []string, calls [][]any) ([]any, error) {
	runs, err := s.pipeline(ctx, script, keys, calls)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err = s.client.ScriptLoad(ctx, script.source).Err(); err == nil {
			runs, err = s.pipeline(ctx, script, keys, calls)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", chat.ErrUnavailable, err)
	}
	replies := make([]any, len(runs))
	for i, r := range runs {
		replies[i] = r.Val()
	}
	return replies, nil
}

func (s *Store) pipeline(ctx context.Context, script *script, keys []string, calls [][]any) ([]*redis.Cmd, error) {
	pipe := s.client.Pipeline()
	runs := make([]*redis.Cmd, len(calls))
	for i, args := range calls {
		runs[i] = pipe.EvalSha(ctx, script.sha, keys, args...)
	}
	_, err := pipe.Exec(ctx)
	return runs, err
}

// userKey names what a module keeps of a user. The user stands in it escaped, and
// the braces are those of the inbox.
func userKey(module string, u chat.UserID) string {
	return redisconn.Prefix + "{" + string(chat.Inbox(u)) + "}:" + module
}
