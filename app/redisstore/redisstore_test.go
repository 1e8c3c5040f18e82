package redisstore_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
func rulesOf(t *testing.T, which string) []string {
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
func startGuarded(t *testing.T) *chattest.Redis {
	t.Helper()
	r := chattest.StartRedis(t, append([]string{"--user", "chatring", "on", ">" + password}, rulesOf(t, "rules")...)...)
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

// newStore returns a store that reaches a guarded Redis as a node does.
func newStore(t *testing.T, r *chattest.Redis) *redisstore.Store {
	t.Helper()
	o, err := redisconn.Options("redis://chatring:"+password+"@"+r.Addr, "", "")
	if err != nil {
		t.Fatal(err)
	}
	s := redisstore.New(o)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var redisCall = regexp.MustCompile(`redis\.call\('([A-Z]+)'`)

// Every test here runs with a node's rights. Beyond them, nothing is allowed that
// no script calls.
func TestRights(t *testing.T) {
	scripts, err := filepath.Glob("*.lua")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts: %v, %v", scripts, err)
	}
	called := make(map[string]bool)
	for _, name := range scripts {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range redisCall.FindAllStringSubmatch(string(source), -1) {
			called["+"+strings.ToLower(call[1])] = true
		}
	}
	for _, rule := range rulesOf(t, "stores") {
		if !called[rule] {
			t.Errorf("%s is allowed, and no script calls it", rule)
		}
	}
}
