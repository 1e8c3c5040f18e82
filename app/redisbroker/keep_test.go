package redisbroker_test

import (
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// startPair starts a Redis and a replica of it, and returns when that has
// confirmed a write.
func startPair(t testing.TB, args ...string) (master, replica *chattest.Redis) {
	t.Helper()
	args = slices.Concat(args, []string{"--repl-diskless-sync-delay", "0"})
	master = chattest.StartRedis(t, args...)
	host, port, _ := net.SplitHostPort(master.Addr)
	replica = chattest.StartRedis(t, "--replicaof", host, port)
	c := operator(t, master).Conn()
	defer c.Close()
	c.Set(t.Context(), "written", "by the test", 0)
	if n, err := c.Wait(t.Context(), 1, 20*time.Second).Result(); n != 1 || err != nil {
		t.Fatalf("%d replicas confirm, %v", n, err)
	}
	return master, replica
}

// What a replica has not confirmed is not acknowledged, signals and questions
// go on meanwhile, and once the replica is back the same key answers the
// position that it was given first.
func TestReplicaIsWaitedFor(t *testing.T) {
	t.Parallel()
	master, replica := startPair(t)
	o := redisbroker.Options{URL: master.URL(), AppID: "1111", Replicas: 1, AckTimeout: 500 * time.Millisecond}
	one, _ := start(t, o)
	two, heard := start(t, o)
	open(t, one, "lobby")
	open(t, two, "lobby")
	first := sayUntilKept(t, one, "kept")

	replica.Pause()
	_, err := one.Append(t.Context(), draft("lobby", "unkept"), chat.Position{})
	if !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("Append without the replica = %v, want ErrUnavailable", err)
	}
	if _, err := one.Append(t.Context(), draft("lobby", "unkept"), chat.Position{}); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("the same key without the replica = %v, want ErrUnavailable", err)
	}
	if s := one.Stats(); s.Unkept < 2 || s.Appends != 1 {
		t.Errorf("Stats = %+v, want one append and two that were not kept", s)
	}
	replica.Resume()

	p := sayUntilKept(t, one, "unkept")
	if !p.Follows(first.Position) {
		t.Errorf("the key is answered %s, want what follows %s", p.Position, first.Position)
	}
	if err := one.Signal(t.Context(), "lobby", []byte("typing")); err != nil {
		t.Errorf("Signal = %v", err)
	}
	heard.Wait(t, "the signal", func() bool { return len(heard.Signals("lobby")) == 1 })
	onceEach(t, read(t, one, "lobby"), 2)
}

// sayUntilKept sends a draft again under its key until it is acknowledged.
func sayUntilKept(t *testing.T, b chat.Broker, key string) (p chat.Publication) {
	t.Helper()
	eventually(t, "a replica has it", func() bool {
		var err error
		p, err = b.Append(t.Context(), draft("lobby", key), chat.Position{})
		return err == nil
	})
	return p
}

// While appends wait for a replica that is gone, signals and questions do not.
func TestSignalsDoNotWait(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	o := redisbroker.Options{URL: r.URL(), AppID: "1111", Replicas: 1, AckTimeout: 3 * time.Second, Patience: 10 * time.Second}
	one, _ := start(t, o)
	two, _ := start(t, o)
	open(t, one, "lobby")
	open(t, two, "lobby")
	waiting := make(chan error)
	go func() {
		_, err := one.Append(t.Context(), draft("lobby", "k"), chat.Position{})
		waiting <- err
	}()
	c := operator(t, r)
	eventually(t, "Redis has the append", func() bool { return c.XLen(t.Context(), "chatring:{lobby}:log").Val() == 1 })
	for range 20 {
		if err := one.Signal(t.Context(), "lobby", nil); err != nil {
			t.Errorf("Signal = %v", err)
		}
		if _, complete, err := one.Ask(t.Context(), "lobby", nil); !complete || err != nil {
			t.Errorf("Ask = %t, %v", complete, err)
		}
	}
	select {
	case err := <-waiting:
		t.Errorf("Append = %v, before signals and questions were through", err)
	default:
		if err := <-waiting; !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("Append = %v, want ErrUnavailable", err)
		}
	}
	// The connection is patient for as long as Redis may wait.
	if s := one.Stats(); s.Unkept != 1 || s.Retries != 0 {
		t.Errorf("%d appends were not kept, %d calls sent again; want 1 and 0", s.Unkept, s.Retries)
	}
}

// A key that is known is not acknowledged on a new connection, which has written
// nothing yet, before a replica has what the key's first draft wrote. (It takes
// Redis 7.2 for this to fail; earlier ones wait for what others wrote as well.)
func TestDuplicateWaitsToo(t *testing.T) {
	t.Parallel()
	master, replica := startPair(t)
	plain, _ := start(t, redisbroker.Options{URL: master.URL(), AppID: "1111"})
	replica.Pause()
	t.Cleanup(replica.Resume)
	first := say(t, plain, "lobby", "k")
	careful, _ := start(t, redisbroker.Options{URL: master.URL(), AppID: "2222", Replicas: 1, AckTimeout: 200 * time.Millisecond})
	if _, err := careful.Append(t.Context(), draft("lobby", "k"), chat.Position{}); !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("Append = %v, want ErrUnavailable", err)
	}
	replica.Resume()
	if p := sayUntilKept(t, careful, "k"); p.Position != first.Position {
		t.Errorf("the key is answered %s, want %s", p.Position, first.Position)
	}
}

// The connection breaks while an append waits: it is asked for again, and is
// acknowledged when it is kept.
func TestLostWait(t *testing.T) {
	t.Parallel()
	master, replica := startPair(t)
	b, _ := start(t, redisbroker.Options{URL: master.URL(), AppID: "1111", Replicas: 1, Patience: 20 * time.Second})
	sayUntilKept(t, b, "1")
	replica.Pause()
	done := make(chan error)
	go func() {
		_, err := b.Append(t.Context(), draft("lobby", "2"), chat.Position{})
		done <- err
	}()
	c := operator(t, master)
	eventually(t, "Redis has the append", func() bool { return c.XLen(t.Context(), "chatring:{lobby}:log").Val() == 2 })
	do(t, c, "CLIENT KILL TYPE normal SKIPME yes")
	replica.Resume()
	if err := <-done; err != nil {
		t.Errorf("Append = %v", err)
	}
	if s := b.Stats(); s.Retries == 0 || s.Unkept != 0 {
		t.Errorf("Stats = %+v, want a retry", s)
	}
	onceEach(t, read(t, b, "lobby"), 2)
}

// Where Redis cannot say that it is on disk, nothing is acknowledged, and the
// log says why; where it can, appends go on.
func TestDiskIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ aof, old, new string }{
		{"no", "7.2 or later is needed", "appendonly is disabled"},
		{"yes", "7.2 or later is needed", ""},
	} {
		t.Run("appendonly "+c.aof, func(t *testing.T) {
			t.Parallel()
			r := chattest.StartRedis(t, "--appendonly", c.aof, "--appendfsync", "everysec")
			want := c.new
			if !hasWAITAOF(t, operator(t, r)) {
				want = c.old
			}
			var log strings.Builder
			b := newBroker(t, redisbroker.Options{URL: r.URL(), AppID: "1111", Fsync: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
			stop := chattest.RunBroker(t, b, chattest.NewRecorder())
			_, err := b.Append(t.Context(), draft("lobby", "k"), chat.Position{})
			stop()
			if want == "" && err != nil || want != "" && (!errors.Is(err, chat.ErrUnavailable) || !strings.Contains(log.String(), want)) {
				t.Errorf("Append = %v, and the log says %q, want %q", err, log.String(), want)
			}
		})
	}
}

func hasWAITAOF(t testing.TB, c *redis.Client) bool {
	t.Helper()
	info, err := c.Command(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return info["waitaof"] != nil
}
