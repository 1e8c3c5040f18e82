package redisstore_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisconn"
	"github.com/chatring/chatring/app/redisstore"
)

// Tickets in Redis do what every store of tickets must do, and leave nothing behind.
func TestTickets(t *testing.T) {
	t.Parallel()
	r := startGuarded(t)
	o, err := redisconn.Options(asNode(r), "", "")
	if err != nil {
		t.Fatal(err)
	}
	store := redisstore.New(o)
	t.Cleanup(func() { _ = store.Close() })
	chattest.TestTickets(t, redisstore.Tickets{Store: store}, func(time.Duration) {
		operator := redis.NewClient(&redis.Options{Addr: r.Addr})
		defer func() { _ = operator.Close() }()
		late := time.Now().Add(time.Minute)
		for { // Redis has a clock of its own
			n, err := operator.DBSize(t.Context()).Result()
			if err != nil || time.Now().After(late) {
				t.Fatalf("%d keys, %v; want the two tickets that live on", n, err)
			}
			if n == 2 {
				return
			}
			time.Sleep(5 * time.Millisecond) // between two questions
		}
	})
}
