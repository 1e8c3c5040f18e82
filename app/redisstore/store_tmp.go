// Package redisstore is temporary.
package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"
)

type Store struct{ client *redis.Client }

func NewTmp(o *redis.Options) *Store { return &Store{redis.NewClient(o)} }

func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args ...any) (any, error) {
	return script.Run(ctx, s.client, keys, args...).Result()
}

const prefix = "chatring:"
