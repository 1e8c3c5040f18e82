package redisbroker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The broker on Redis does what every Broker must do.
func TestBroker(t *testing.T) {
	chattest.TestBroker(t, func(t *testing.T) chattest.Cluster {
		t.Parallel()
		url := chattest.StartRedis(t).URL()
		return func(appid string) chat.Broker {
			return newBroker(t, redisbroker.Options{URL: url, AppID: appid})
		}
	})
}

func newBroker(t testing.TB, o redisbroker.Options) *redisbroker.Broker {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	b, err := redisbroker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// start runs a node until the test ends.
func start(t *testing.T, o redisbroker.Options) (*redisbroker.Broker, *chattest.Recorder) {
	t.Helper()
	b, heard := newBroker(t, o), chattest.NewRecorder()
	chattest.RunBroker(t, b, heard)
	return b, heard
}

// operator returns a client for what an operator does by hand.
func operator(t testing.TB, r *chattest.Redis) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func do(t *testing.T, c *redis.Client, command string) any {
	t.Helper()
	var args []any
	for _, word := range strings.Fields(command) {
		args = append(args, word)
	}
	reply, err := c.Do(t.Context(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("%s: %v", command, err)
	}
	return reply
}

// within returns a context that ends soon enough for a test to wait for it.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func draft(room chat.RoomID, key string) chat.Draft {
	return chat.Draft{Room: room, From: "alice", Key: key, Body: []byte(`"` + key + `"`)}
}

func say(t *testing.T, b chat.Broker, room chat.RoomID, key string) chat.Publication {
	t.Helper()
	p, err := b.Append(t.Context(), draft(room, key), chat.Position{})
	if err != nil {
		t.Fatalf("Append(%s) = %v", key, err)
	}
	return p
}

func open(t *testing.T, b chat.Broker, room chat.RoomID) {
	t.Helper()
	if err := b.Open(t.Context(), room); err != nil {
		t.Fatalf("Open(%s) = %v", room, err)
	}
}

func read(t *testing.T, b chat.Broker, room chat.RoomID) []chat.Publication {
	t.Helper()
	all, err := b.ReadAfter(t.Context(), room, chat.Position{}, 100_000)
	if err != nil {
		t.Fatalf("ReadAfter(%s) = %v", room, err)
	}
	return all
}

// onceEach says whether a log has each key once and no holes.
func onceEach(t *testing.T, log []chat.Publication, keys int) {
	t.Helper()
	count := make(map[string]int)
	for i, p := range log {
		count[p.Key]++
		if i > 0 && !p.Follows(log[i-1].Position) {
			t.Errorf("%s does not follow %s", p.Position, log[i-1].Position)
		}
	}
	for key, n := range count {
		if n != 1 {
			t.Errorf("%s is in the log %d times", key, n)
		}
	}
	if len(count) != keys {
		t.Errorf("the log has %d keys, want %d", len(count), keys)
	}
}

// A password never leaves the URL, whatever is wrong with it.
func TestPasswordStaysSecret(t *testing.T) {
	for _, url := range []string{
		"redis://user:hunter2@host:bad/0", "redis://user:hunter2@host:1/x", "http://user:hunter2@host", "redis://user:hunter2/@host\x7f",
	} {
		if _, err := redisbroker.New(redisbroker.Options{URL: url}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New(%q) = %v, want an error without the password", url, err)
		}
	}

	var log strings.Builder
	r := chattest.StartRedis(t, "--requirepass", "other", "--protected-mode", "no")
	b := newBroker(t, redisbroker.Options{
		URL: "redis://:hunter2@" + r.Addr,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	stop := chattest.RunBroker(t, b, chattest.NewRecorder())
	err := b.Open(within(t, 300*time.Millisecond), "lobby")
	checked := b.Check(t.Context())
	stop()
	if said := fmt.Sprint(err, checked, log.String()); strings.Contains(said, "hunter2") || !strings.Contains(said, "WRONGPASS") {
		t.Errorf("said %s, want WRONGPASS without the password", said)
	}
}
