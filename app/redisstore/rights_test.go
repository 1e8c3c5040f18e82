package redisstore_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/redisstore"
)

var redisCall = regexp.MustCompile(`redis\.p?call\('([a-z]+)'(?:, '([a-z]+)')?`)

// A node may do what it does with what modules keep, and nothing else. The suites of
// the stores run with a node's rights; beyond these nothing is allowed that no script
// calls, but to run scripts.
func TestRights(t *testing.T) {
	used := make(map[string]bool)
	scripts, err := filepath.Glob("*.lua")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts: %v, %v", scripts, err)
	}
	for _, name := range scripts {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range redisCall.FindAllStringSubmatch(strings.ToLower(string(source)), -1) {
			used[call[1]], used[call[1]+"|"+call[2]] = true, true
		}
	}
	r := startGuarded(t)
	if _, err := newQueueTest(t, r).queue(redisstore.QueueOptions{}).Add(t.Context(), map[string]string{"n": "1"}); err != nil {
		t.Error(err)
	}
	c := redis.NewClient(&redis.Options{Addr: r.Addr})
	defer c.Close()
	for line := range strings.Lines(c.Info(t.Context(), "commandstats").Val()) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":")
		used[name] = true
	}
	for _, rule := range rulesOf(t, "store") {
		if command, ok := strings.CutPrefix(rule, "+"); ok && !used[command] {
			t.Errorf("%s is allowed, and nobody uses it", command)
		}
	}
}
