package redisbroker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// refer appends what is about something.
func refer(t *testing.T, b *redisbroker.Broker, key string, about chat.About) chat.Publication {
	t.Helper()
	d := draft("lobby", key)
	d.About = about.String()
	p, err := b.Append(t.Context(), d, chat.Position{})
	if err != nil {
		t.Fatalf("Append(%s) about %s = %v", key, d.About, err)
	}
	return p
}

func edit(t *testing.T, b *redisbroker.Broker, key string, of chat.Publication) chat.Publication {
	t.Helper()
	target := of.Target()
	return refer(t, b, key, chat.About{Edits: &target})
}

// What stands beside a log that is trimmed is bounded by it, however much is
// changed, and says of everything that is still in the log what has become of it,
// and how many of its entries are no messages. The description stays.
func TestChangesAreBounded(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t, "--stream-node-max-entries", "10")
	const retention, most = 50, 50 + 10
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111", Retention: retention})
	by := operator(t, r)
	want := make(map[chat.Identity]string) // the key of what changed a message last
	deleted := make(map[chat.Identity]bool)
	random := rand.New(rand.NewPCG(1, 2))
	said := []chat.Publication{say(t, b, "lobby", "first")}
	tail := said[0]
	for step := range 1500 {
		key := strconv.Itoa(step)
		of := said[max(0, len(said)-1-random.IntN(40))]
		target := of.Target()
		switch trimmed := tail.Offset-of.Offset >= retention; {
		case random.IntN(4) == 0 || trimmed:
			said = append(said, say(t, b, "lobby", key))
			tail = said[len(said)-1]
		case deleted[of.Identity()]:
			d := draft("lobby", key)
			d.About = chat.About{Edits: &target}.String()
			if _, err := b.Append(t.Context(), d, chat.Position{}); !errors.Is(err, chat.ErrDeleted) {
				t.Fatalf("an edit of what was deleted is answered with %v", err)
			}
		case random.IntN(10) == 0:
			tail = refer(t, b, key, chat.About{Deletes: &target})
			want[of.Identity()], deleted[of.Identity()] = "deleted by alice", true
		default:
			tail = refer(t, b, key, chat.About{Edits: &target})
			want[of.Identity()] = strconv.Quote(key)
		}
		if step%50 != 49 {
			continue
		}
		tail = refer(t, b, "d"+key, chat.About{Describes: true}) // what is trimmed is forgotten at the next change
		log := read(t, b, "lobby")
		if len(log) > most {
			t.Fatalf("the log has %d entries, want %d at the most", len(log), most)
		}
		checkChanges(t, b, log, want)
		fields := do(t, by, "HLEN chatring:{lobby}:changes").(int64) + do(t, by, "HLEN chatring:{lobby}:changes:old").(int64)
		if fields > 2*(most+2) {
			t.Fatalf("after %d steps there are %d fields of changes for a log of %d", step, fields, len(log))
		}
		for _, p := range log {
			behind := 0
			for _, q := range log {
				if p.Before(q.Position) && q.About != "" {
					behind++
				}
			}
			if got := do(t, by, fmt.Sprintf("ZCOUNT chatring:{lobby}:changed (%d +inf", p.Offset)); got != int64(behind) {
				t.Fatalf("%v of what follows %s are no messages, want %d", got, p.Position, behind)
			}
		}
		if got := do(t, by, "ZCARD chatring:{lobby}:changed").(int64); got > int64(len(log)) {
			t.Fatalf("%d offsets of changes for a log of %d", got, len(log))
		}
	}
	described := tail
	for n := range most { // a generation that begins takes it along
		edit(t, b, "x"+strconv.Itoa(n), say(t, b, "lobby", "y"+strconv.Itoa(n)))
	}
	if got := read(t, b, "lobby")[0]; !described.Before(got.Position) {
		t.Errorf("the log begins with %s and was never trimmed", got.Position)
	}
	if d, err := b.Description(t.Context(), "lobby"); err != nil || d.Position != described.Position {
		t.Errorf("Description = %+v, %v, want that of %s", d, err, described.Position)
	}
}

func checkChanges(t *testing.T, b *redisbroker.Broker, log []chat.Publication, want map[chat.Identity]string) {
	t.Helper()
	changes, err := b.Changes(t.Context(), "lobby", log)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range log {
		if p.About != "" {
			continue
		}
		got := string(changes[i].Body)
		if changes[i].Deleted {
			got = "deleted by " + string(changes[i].By)
		}
		if got != want[p.Identity()] {
			t.Fatalf("%s has become %q, want %q", p.Position, got, want[p.Identity()])
		}
	}
}

// What stands beside the log lives as long as the log, though nothing is changed any
// more, and goes with it.
func TestChangesLiveAsLongAsTheLog(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111", KeyWindow: 100 * time.Millisecond})
	by := operator(t, r)
	edit(t, b, "e1", say(t, b, "lobby", "k1"))
	do(t, by, "HSET chatring:{lobby}:changes:old f v")
	beside := []string{"changes", "changes:old", "changed"}
	for _, name := range beside {
		do(t, by, "EXPIRE chatring:{lobby}:"+name+" 1000")
	}
	n := 0
	eventually(t, "a generation of keys that begins", func() bool {
		n++
		say(t, b, "lobby", strconv.Itoa(n))
		return do(t, by, "TTL chatring:{lobby}:changed").(int64) > 1000
	})
	for _, name := range beside {
		got, log := do(t, by, "PEXPIRETIME chatring:{lobby}:"+name).(int64), do(t, by, "PEXPIRETIME chatring:{lobby}:log").(int64)
		if got < log || got > log+1000 { // Redis looks at its clock for each of them
			t.Errorf("%s expires at %d, the log at %d", name, got, log)
		}
	}
	do(t, by, "DEL chatring:{lobby}:log")
	say(t, b, "lobby", "k1")
	if n := do(t, by, "EXISTS chatring:{lobby}:changes chatring:{lobby}:changes:old chatring:{lobby}:changed"); n != int64(0) {
		t.Errorf("%v of what stood beside the log are there without it", n)
	}
}

// An edit itself makes what stands beside the log live as long as the log.
func TestChangesExpire(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	by := operator(t, r)
	first := say(t, b, "lobby", "k1")
	edit(t, b, "e1", first)
	for _, name := range []string{"changes", "changed"} {
		if ttl, log := do(t, by, "TTL chatring:{lobby}:"+name).(int64), do(t, by, "TTL chatring:{lobby}:log").(int64); ttl < log || ttl > log+5 {
			t.Errorf("%s has %d s to live, the log %d", name, ttl, log)
		}
	}
}

// A new epoch counts its own publications that are no messages; what has become of
// the others stays.
func TestNewEpochForgetsOffsets(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	first := say(t, b, "lobby", "k1")
	last := edit(t, b, "e1", first)
	if _, err := b.Restore(t.Context(), chat.Publication{Draft: draft("lobby", "k2")}, chat.Position{Epoch: last.Epoch, Offset: last.Offset + 5}); err != nil {
		t.Fatal(err)
	}
	members := operator(t, r).ZRange(t.Context(), "chatring:{lobby}:changed", 0, -1).Val()
	if len(members) > 0 {
		t.Errorf("the new epoch has %q", members)
	}
	e2 := edit(t, b, "e2", first)
	if members := operator(t, r).ZRange(t.Context(), "chatring:{lobby}:changed", 0, -1).Val(); !slices.Equal(members, []string{e2.String()}) {
		t.Errorf("the new epoch has %q, want %s", members, e2.Position)
	}
	checkChanges(t, b, []chat.Publication{first}, map[chat.Identity]string{first.Identity(): `"e2"`})
}

// What somebody has written by hand does no harm: it is left out, and counted.
func TestChangeThatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111"})
	first := say(t, b, "lobby", "k1")
	for n, value := range []string{"e", "e 1-1 5", "e x 5 1", "e 1-1 x 1", ""} {
		operator(t, r).HSet(t.Context(), "chatring:{lobby}:changes", fmt.Sprintf("alice k1 %d", first.At.UnixMilli()), value, "describes", value)
		checkChanges(t, b, []chat.Publication{first}, nil)
		if d, err := b.Description(t.Context(), "lobby"); err != nil || !d.IsZero() {
			t.Errorf("Description of %q = %+v, %v", value, d, err)
		}
		if got, want := b.Stats().Unreadable, uint64(2*(n+1)); got != want { //nolint:gosec // a few
			t.Errorf("%d could not be read, want %d", got, want)
		}
	}
}
