package redisstore_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chattest"
)

// A node may do what it does with what modules keep, and nothing else: nothing is
// refused, and no command is allowed that nobody uses. Each store has a part here
// that does all that it can.
func TestRights(t *testing.T) {
	out, err := exec.Command("../../scripts/redis", "rules", "store").Output()
	if err != nil {
		t.Fatal(err)
	}
	rules := strings.Fields(string(out))
	used := make(map[string]bool)
	t.Run("queue", func(t *testing.T) { useQueue(t, startGuarded(t, rules, used)) })
	for _, rule := range rules {
		if command, ok := strings.CutPrefix(rule, "+"); ok && !used[command] {
			t.Errorf("%s is allowed, and nobody uses it", command)
		}
	}
}

// guarded is a Redis with a user for nodes.
type guarded struct{ node, operator string } // URLs

// startGuarded starts a Redis that lets a node do what the rules say, and at the
// end of the test complains of what it refused, and notes what was used.
func startGuarded(t *testing.T, rules []string, used map[string]bool) guarded {
	t.Helper()
	r := chattest.StartRedis(t, append([]string{"--user", "chatring", "on", ">hunter2"}, rules...)...)
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
		for line := range strings.Lines(c.Info(context.Background(), "commandstats").Val()) {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":")
			used[name] = true
		}
	})
	return guarded{node: "redis://chatring:hunter2@" + r.Addr, operator: r.URL()}
}
