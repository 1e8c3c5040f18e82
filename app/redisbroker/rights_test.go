package redisbroker_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// nodeRules is what scripts/redis lets a node do for the rooms' logs.
func nodeRules(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("../../scripts/redis", "rules", "log").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// nodeUser are the arguments of a redis-server that knows the nodes' user.
func nodeUser(password string, rules []string) []string {
	return append([]string{"--user", "chatring", "on", ">" + password}, rules...)
}

// startGuarded starts a Redis that lets a node do what the rules say, and at the
// end of the test complains of what it refused, and notes what was used.
func startGuarded(t *testing.T, rules []string, used map[string]bool) redisbroker.Options {
	t.Helper()
	r := chattest.StartRedis(t, append(nodeUser("hunter2", rules), "--appendonly", "yes")...)
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
	return redisbroker.Options{URL: "redis://chatring:hunter2@" + r.Addr}
}

// A node may do what it does, and nothing else: the whole suite passes, nothing
// is refused, and no command is allowed that nobody uses.
func TestRights(t *testing.T) {
	rules := nodeRules(t)
	used := make(map[string]bool)
	chattest.TestBroker(t, func(t *testing.T) chattest.Cluster {
		o := startGuarded(t, rules, used)
		return func(appid string) chat.Broker {
			o.AppID = appid
			return newBroker(t, o)
		}
	})
	t.Run("what the suite leaves out", func(t *testing.T) {
		o := startGuarded(t, rules, used)
		o.KeyWindow = 100 * time.Millisecond
		b, _ := start(t, o)
		if err := b.Check(t.Context()); err != nil {
			t.Errorf("Check = %v", err)
		}
		said := 0
		eventually(t, "the keys of a second generation", func() bool {
			said++
			say(t, b, "lobby", strconv.Itoa(said))
			return operatorOf(t, o).Exists(t.Context(), "chatring:{lobby}:keys:old").Val() == 1
		})
		eventually(t, "a probe", func() bool { return b.Stats().Probes > 0 })

		o.Replicas, o.AckTimeout, o.Log = 1, time.Millisecond, slog.New(slog.DiscardHandler)
		for _, o.Fsync = range []bool{false, true} {
			careful, _ := start(t, o)
			if _, err := careful.Append(t.Context(), draft("lobby", "unkept"), chat.Position{}); !errors.Is(err, chat.ErrUnavailable) {
				t.Errorf("Append without a replica = %v, want ErrUnavailable", err)
			}
		}
	})
	for _, rule := range rules {
		if command, ok := strings.CutPrefix(rule, "+"); ok && !used[command] {
			t.Errorf("%s is allowed, and nobody uses it", command)
		}
	}
}

// A user whose rights do not go as far as the beat is named in the log.
func TestBeatIsRefused(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t, append(nodeUser("hunter2", nodeRules(t)), "-hsetnx")...)
	log := make(chan string, 100)
	start(t, redisbroker.Options{
		URL: "redis://chatring:hunter2@" + r.Addr, AppID: "1111",
		Log: slog.New(slog.NewTextHandler(lines(log), nil)),
	})
	late := time.After(10 * time.Second)
	for {
		select {
		case line := <-log:
			if strings.Contains(line, "refuses the beat") && strings.Contains(line, "hsetnx") {
				return
			}
		case <-late:
			t.Fatal("the log says nothing of the beat")
		}
	}
}

// lines is a log that goes line by line, as far as somebody reads it.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

// The nodes' user cannot empty Redis, look into it, or read what is not ours.
func TestNodesAreNoOperators(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t, nodeUser("hunter2", nodeRules(t))...)
	c := redis.NewClient(&redis.Options{Addr: r.Addr, Username: "chatring", Password: "hunter2"})
	t.Cleanup(func() { _ = c.Close() })
	for _, command := range []string{
		"FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "CONFIG GET dir", "ACL LIST", "SHUTDOWN NOSAVE", "MONITOR",
		"CLIENT LIST", "CLIENT KILL TYPE normal", "SCRIPT FLUSH", "EVAL return{} 0", "PSUBSCRIBE *", "PUBSUB CHANNELS", "SAVE", "REPLICAOF NO ONE",
		"MODULE LIST", "FUNCTION LIST", "GET chatring:beat", "DEL other", "HGET other f", "PUBLISH other m", "SUBSCRIBE other", "XRANGE other - +",
	} {
		args := make([]any, 0, 4)
		for _, word := range strings.Fields(command) {
			args = append(args, word)
		}
		if err := c.Do(t.Context(), args...).Err(); !redis.HasErrorPrefix(err, "NOPERM") {
			t.Errorf("%s = %v, want NOPERM", command, err)
		}
	}
}

// The password is read for each connection: a node goes on when it changes, and
// finds it when it is made later.
func TestPasswordFile(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t, nodeUser("first", nodeRules(t))...)
	c := operator(t, r)
	do(t, c, "ACL SETUSER default resetpass >operator")
	do(t, c, "AUTH operator")
	file := filepath.Join(t.TempDir(), "password")
	b, heard := start(t, redisbroker.Options{URL: r.URL(), User: "chatring", PasswordFile: file, AppID: "1111"})
	if err := b.Check(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Check without the file = %v, want an error that names it", err)
	}
	write := func(password string) {
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	open(t, b, "lobby")
	say(t, b, "lobby", "1")

	write("second")
	do(t, c, "ACL SETUSER chatring resetpass >second")
	do(t, c, "CLIENT KILL USER chatring")
	heard.Wait(t, "the bridge to be back", func() bool { return heard.Resumptions() == 1 })
	say(t, b, "lobby", "2")
	onceEach(t, read(t, b, "lobby"), 2)
}

// operatorOf returns a client for what an operator does by hand.
func operatorOf(t *testing.T, o redisbroker.Options) *redis.Client {
	t.Helper()
	_, addr, _ := strings.Cut(o.URL, "@")
	return operator(t, &chattest.Redis{Addr: addr})
}
