package redisbroker_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// A room that one node serves costs no PUBLISH at all, alone in it or not.
func TestOneNodeRoomPublishesNothing(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	o := redisbroker.Options{URL: r.URL(), AppID: "1111", ProbeEvery: time.Hour}
	one, _ := start(t, o)
	two, heard := start(t, o)
	open(t, one, "alone")
	open(t, one, "fence")
	open(t, two, "fence")
	for i := range 50 {
		say(t, one, "alone", strconv.Itoa(i))
	}
	say(t, one, "unopened", "k")
	if err := one.Signal(t.Context(), "alone", []byte("typing")); err != nil {
		t.Errorf("Signal = %v", err)
	}
	if _, complete, err := one.Ask(t.Context(), "alone", nil); !complete || err != nil {
		t.Errorf("Ask = %v, %v, want complete", complete, err)
	}
	if got := publishes(t, r); got != 0 {
		t.Errorf("%d publishes, want none", got)
	}
	say(t, one, "fence", "k")
	heard.Wait(t, "the fence", func() bool { return len(heard.Publications("fence")) == 1 })
	if got := publishes(t, r); got != 1 {
		t.Errorf("%d publishes, want 1", got)
	}
	if s := one.Stats(); s.Appends != 52 || s.Bridged != 1 || s.Rooms != 2 || !s.Connected {
		t.Errorf("Stats = %+v", s)
	}
}

// publishes returns how often Redis has run PUBLISH.
func publishes(t *testing.T, r *chattest.Redis) (n int) {
	t.Helper()
	info, _ := do(t, operator(t, r), "INFO commandstats").(string)
	if _, after, ok := strings.Cut(info, "cmdstat_publish:calls="); ok {
		calls, _, _ := strings.Cut(after, ",")
		n, _ = strconv.Atoi(calls)
	}
	return n
}

// An answer that is lost after the script ran is asked for again, and the draft
// is in the log once.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	proxy := chattest.StartProxy(t, r.Addr)
	b, _ := start(t, redisbroker.Options{URL: proxy.URL(), AppID: "1111"})
	first := say(t, b, "lobby", "before")
	dropped := proxy.DropReply("evalsha")
	p := say(t, b, "lobby", "k")
	select {
	case <-dropped:
	default:
		t.Error("no reply was dropped")
	}
	if !p.Follows(first.Position) {
		t.Errorf("position = %s, want the successor of %s", p.Position, first.Position)
	}
	onceEach(t, read(t, b, "lobby"), 2)
	if s := b.Stats(); s.Appends != 1 || s.Duplicates != 1 || s.Retries != 1 {
		t.Errorf("Stats = %+v, want one retry that found its first try", s)
	}
}

// Redis is killed and comes back from its AOF while nodes append: everything
// that was acknowledged is in the log once, where it was acknowledged.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	const writers, each = 20, 30
	nodes := make([]*redisbroker.Broker, 2)
	for i := range nodes {
		nodes[i], _ = start(t, redisbroker.Options{URL: r.URL(), AppID: strconv.Itoa(i), Patience: 10 * time.Second})
		open(t, nodes[i], "lobby")
	}
	acked := make([][]chat.Publication, writers)
	half := make(chan struct{}, writers)
	var wg sync.WaitGroup
	for w := range writers {
		b := nodes[w%len(nodes)]
		wg.Go(func() {
			for i := range each {
				if i == each/2 {
					half <- struct{}{}
				}
				acked[w] = append(acked[w], say(t, b, "lobby", fmt.Sprintf("%d.%d", w, i)))
			}
		})
	}
	for range writers {
		<-half
	}
	r.Kill()
	r.Start()
	wg.Wait()

	log := read(t, nodes[0], "lobby")
	onceEach(t, log, writers*each)
	at := make(map[string]chat.Position)
	for _, p := range log {
		at[p.Key] = p.Position
	}
	for w := range writers {
		for i, p := range acked[w] {
			if at[p.Key] != p.Position {
				t.Errorf("%s was acknowledged at %s and is at %s", p.Key, p.Position, at[p.Key])
			}
			if i > 0 && !acked[w][i-1].Before(p.Position) {
				t.Errorf("%s was acknowledged before %s, which its writer sent earlier", p.Position, acked[w][i-1].Position)
			}
		}
	}
	if again := say(t, nodes[1], "lobby", "0.0"); again.Position != acked[0][0].Position {
		t.Errorf("a retry after the restart is at %s, want %s", again.Position, acked[0][0].Position)
	}
}

// A Redis that has forgotten the scripts is given them again.
func TestScriptsAreLoadedAgain(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	say(t, b, "lobby", "1")
	do(t, operator(t, r), "SCRIPT FLUSH")
	if err := b.Signal(t.Context(), "lobby", nil); err != nil {
		t.Errorf("Signal = %v", err)
	}
	do(t, operator(t, r), "SCRIPT FLUSH")
	say(t, b, "lobby", "2")
	onceEach(t, read(t, b, "lobby"), 2)
}

// What Redis refuses is unavailable and said in the log, and nothing is half
// done. A full Redis takes what is vital.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	var log strings.Builder
	b := newBroker(t, redisbroker.Options{URL: r.URL(), AppID: "1111", Vital: "!nodes", Log: slog.New(slog.NewTextHandler(&log, nil))})
	stop := chattest.RunBroker(t, b, chattest.NewRecorder())
	by := operator(t, r)
	say(t, b, "lobby", "1")
	for _, test := range []struct{ code, break_, mend string }{
		{"OOM", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"},
		{"READONLY", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"},
		{"WRONGTYPE", "SET chatring:{team}:log x", "DEL chatring:{team}:log"},
	} {
		do(t, by, test.break_)
		_, err := b.Append(t.Context(), draft("team", test.code), chat.Position{})
		if !errors.Is(err, chat.ErrUnavailable) || !strings.Contains(err.Error(), test.code) {
			t.Errorf("Append = %v, want ErrUnavailable with %s", err, test.code)
		}
		if test.code == "OOM" {
			if err := b.Signal(t.Context(), "team", nil); err != nil {
				t.Errorf("Signal with full memory = %v", err)
			}
			say(t, b, "!nodes", "vital")
		}
		do(t, by, test.mend)
		if n := do(t, by, "EXISTS chatring:{team}:keys chatring:{team}:log"); n != int64(0) {
			t.Errorf("after %s %d keys are left, want none", test.code, n)
		}
	}
	say(t, b, "team", "OOM")
	stop()
	if said := log.String(); !strings.Contains(said, "Redis refuses to append") || !strings.Contains(said, "OOM command not allowed") {
		t.Errorf("the log says %s, want a refusal in Redis' words", said)
	}
}

// The log is trimmed to its retention, and goes with its keys.
func TestRetention(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111", Retention: 200, RetentionAge: time.Hour})
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() { say(t, b, "lobby", strconv.Itoa(i)) })
	}
	wg.Wait()
	if n := len(read(t, b, "lobby")); n < 200 || n > 300 {
		t.Errorf("%d publications are kept, want 200 to 300", n)
	}
	by := operator(t, r)
	for _, test := range []struct {
		key      string
		min, max int64
	}{
		{"chatring:{lobby}:log", 3890, 3901}, // and a key's window
		{"chatring:{lobby}:keys", 590, 600},
	} {
		if ttl := do(t, by, "TTL "+test.key).(int64); ttl < test.min || ttl > test.max {
			t.Errorf("%s lives %d s, want %d to %d", test.key, ttl, test.min, test.max)
		}
	}
}

// A draft that was given up while Redis stood still is not in the log when Redis
// runs on and finds it in its socket.
func TestGivenUpDraftDoesNotLand(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	say(t, b, "lobby", "before")
	r.Pause()
	_, err := b.Append(within(t, 200*time.Millisecond), draft("lobby", "given up"), chat.Position{})
	if !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("Append = %v, want ErrUnavailable", err)
	}
	r.Resume()
	say(t, b, "lobby", "after")
	var keys []string
	for _, p := range read(t, b, "lobby") {
		keys = append(keys, p.Key)
	}
	if got, want := strings.Join(keys, ", "), "before, after"; got != want {
		t.Errorf("the log is %s, want %s", got, want)
	}
}

// Keys stand in two generations: the younger one takes the older one's place
// when it is as old as the window. One that Redis' clock went back behind begins
// again, and no key is lost over it. Each one renews the log's life.
func TestKeyGenerations(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111", KeyWindow: time.Hour})
	by := operator(t, r)
	generations := func(after string, keys, old int64) {
		t.Helper()
		// Each has the field "born", too.
		if k, o := do(t, by, "HLEN chatring:{lobby}:keys"), do(t, by, "HLEN chatring:{lobby}:keys:old"); k != keys+1 || o != old+1 {
			t.Errorf("after %s the generations have %v and %v fields, want %d and %d", after, k, o, keys+1, old+1)
		}
	}
	one := say(t, b, "lobby", "1")
	for _, test := range []struct {
		after     string
		born      time.Duration
		keys, old int64
	}{{"an hour", -time.Hour, 1, 1}, {"two hours back", 2 * time.Hour, 2, 1}} {
		do(t, by, fmt.Sprintf("HSET chatring:{lobby}:keys born %d", one.At.Add(test.born).UnixMilli()))
		do(t, by, "EXPIRE chatring:{lobby}:log 60")
		say(t, b, "lobby", test.after)
		generations(test.after, test.keys, test.old)
		if ttl, least := do(t, by, "TTL chatring:{lobby}:log").(int64), int64(7*24*3600+3590); ttl < least {
			t.Errorf("after %s the log lives %d s, want %d at least", test.after, ttl, least)
		}
	}
	three := read(t, b, "lobby")[2]
	if got, want := do(t, by, "HGET chatring:{lobby}:keys born"), strconv.FormatInt(three.At.UnixMilli(), 10); got != want {
		t.Errorf("the generation is born at %v, want %s", got, want)
	}
	if again := say(t, b, "lobby", "1"); again.Position != one.Position {
		t.Errorf("a retry is at %s, want %s", again.Position, one.Position)
	}
}

// A witness that no log can have seen, because somebody published it by hand,
// changes nothing.
func TestImpossibleWitness(t *testing.T) {
	t.Parallel()
	b, _ := start(t, redisbroker.Options{URL: chattest.StartRedis(t).URL(), AppID: "1111"})
	last := say(t, b, "lobby", "first")
	for _, epoch := range []uint64{1 << 53, 1<<64 - 1} {
		p, err := b.Append(t.Context(), draft("lobby", strconv.FormatUint(epoch, 10)), chat.Position{Epoch: epoch})
		if err != nil || !p.Follows(last.Position) {
			t.Errorf("Append with witness %d-0 = %s, %v, want the successor of %s", epoch, p.Position, err, last.Position)
		}
		last = p
	}
}

// A key is known for its window at least, and forgotten some time later.
func TestKeyWindow(t *testing.T) {
	t.Parallel()
	const window = 50 * time.Millisecond
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111", KeyWindow: window})
	n := 0
	next := func() chat.Publication {
		n++
		return say(t, b, "lobby", strconv.Itoa(n))
	}
	for begin := next().At; next().At.Sub(begin) < window/2; {
		continue // to the middle of a generation
	}
	first := say(t, b, "lobby", "k")
	for {
		next()
		again := say(t, b, "lobby", "k")
		if again.Position == first.Position {
			if !again.At.Equal(first.At) {
				t.Errorf("a retry is at %s, want %s", again.At, first.At)
			}
			continue
		}
		if age := again.At.Sub(first.At); age < window {
			t.Errorf("the key was forgotten after %s, want %s at least", age, window)
		}
		break
	}
}

// A log that was deleted takes its senders' keys with it, so that whoever still
// has the publications can append them again.
func TestDeletedLogForgetsKeys(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	first := say(t, b, "lobby", "1")
	last := say(t, b, "lobby", "2")
	do(t, operator(t, r), "DEL chatring:{lobby}:log")
	for _, key := range []string{"1", "2"} {
		p, err := b.Restore(t.Context(), chat.Publication{Draft: draft("lobby", key)}, last.Position)
		if err != nil || p.Epoch <= first.Epoch {
			t.Errorf("Restore = %s, %v, want a new epoch after %s", p.Position, err, last.Position)
		}
		last = p
	}
	onceEach(t, read(t, b, "lobby"), 2)
}

// What somebody wrote into a log by hand is left out, and does not look like
// the log's end.
func TestForeignEntries(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	by := operator(t, r)
	first := say(t, b, "lobby", "1")
	do(t, by, "XADD chatring:{lobby}:log * hello world")
	do(t, by, "XADD chatring:{lobby}:log * at soon from a key k body b")
	do(t, by, "XADD chatring:{lobby}:log * at 1 from a key k")
	second := say(t, b, "lobby", "2")
	want := []chat.Position{first.Position, second.Position}
	after, err := b.ReadAfter(t.Context(), "lobby", chat.Position{}, 2)
	if len(after) != 2 || after[0].Position != want[0] || after[1].Position != want[1] {
		t.Errorf("ReadAfter = %v, %v, want %v", after, err, want)
	}
	before, err := b.ReadBefore(t.Context(), "lobby", chat.Position{}, 2)
	if len(before) != 2 || before[0].Position != want[0] || before[1].Position != want[1] {
		t.Errorf("ReadBefore = %v, %v, want %v", before, err, want)
	}
	if b.Stats().Unreadable == 0 {
		t.Error("no entry was counted as unreadable")
	}
}
