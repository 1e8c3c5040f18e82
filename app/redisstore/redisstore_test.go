package redisstore_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisconn"
	"github.com/chatring/chatring/app/redisstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rulesOf is what scripts/redis lets a node do, or some of it.
func rulesOf(t testing.TB, which string) []string {
	t.Helper()
	out, err := exec.Command("../../scripts/redis", "rules", which).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

const password = "hunter2"

// startGuarded starts a Redis whose user "chatring" may do what a node may, and at
// the end of the test complains of what it refused.
func startGuarded(t testing.TB, args ...string) *chattest.Redis {
	t.Helper()
	r := chattest.StartRedis(t, append(append([]string{"--user", "chatring", "on", ">" + password}, rulesOf(t, "")...), args...)...)
	t.Cleanup(func() {
		c := redis.NewClient(&redis.Options{Addr: r.Addr})
		defer c.Close()
		refused, err := c.ACLLog(context.Background(), 100).Result()
		if err != nil {
			t.Errorf("ACL LOG: %v", err)
		}
		for _, r := range refused {
			t.Errorf("Redis refused %s, by its %s", r.Object, r.Reason)
		}
	})
	return r
}

// asNode is the URL by which a node reaches a guarded Redis.
func asNode(r *chattest.Redis) string { return "redis://chatring:" + password + "@" + r.Addr }

// newStore returns a store that reaches a guarded Redis as a node does.
func newStore(t *testing.T, r *chattest.Redis) *redisstore.Store {
	t.Helper()
	o, err := redisconn.Options(asNode(r), "", "")
	if err != nil {
		t.Fatal(err)
	}
	s := redisstore.New(o)
	t.Cleanup(func() { _ = s.Close() })
	return s
}
