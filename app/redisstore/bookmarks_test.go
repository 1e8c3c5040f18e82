package redisstore_test

import (
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
	"github.com/chatring/chatring/app/redisconn"
	"github.com/chatring/chatring/app/redisstore"
)

// The lists in Redis do what every store of bookmarks must do.
func TestBookmarks(t *testing.T) {
	chattest.TestBookmarks(t, func(t *testing.T) (bookmarks.Store, chat.Broker) {
		t.Parallel()
		return openBookmarks(t, asNode(startGuarded(t)))
	})
}

// openBookmarks returns the lists in the Redis at an address, and a broker whose logs are there.
func openBookmarks(t testing.TB, url string) (redisstore.Bookmarks, *redisbroker.Broker) {
	t.Helper()
	log, err := redisbroker.New(redisbroker.Options{URL: url, AppID: "1111", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	o, err := redisconn.Options(url, "", "")
	if err != nil {
		t.Fatal(err)
	}
	store := redisstore.New(o)
	t.Cleanup(func() { _ = store.Close() })
	return redisstore.Bookmarks{Store: store}, log
}

// fill says n messages in each of some rooms and marks the first, and returns the
// names of the rooms.
func fill(t testing.TB, store redisstore.Bookmarks, log chat.Broker, rooms, n int, body []byte) {
	t.Helper()
	var filling sync.WaitGroup
	for i := range rooms {
		filling.Go(func() {
			room := chat.RoomID(fmt.Sprintf("room-%d", i))
			for k := range n {
				p, err := log.Append(t.Context(), chat.Draft{Room: room, From: "bob", Key: fmt.Sprintf("k%d", k), Body: body}, chat.Position{})
				if err == nil && k == 0 {
					_, _, err = store.Mark(t.Context(), "alice", room, p.Position, rooms)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	filling.Wait()
}

// A list of 200 rooms is one question to Redis, which looks at each room once,
// however much was said there.
func TestListIsOneQuestion(t *testing.T) {
	t.Parallel()
	const rooms, said = 200, 5
	r := chattest.StartRedis(t)
	store, log := openBookmarks(t, r.URL())
	chattest.RunBroker(t, log, chattest.NewRecorder())
	fill(t, store, log, rooms, said, []byte(`"hi"`))
	if _, err := store.List(t.Context(), "alice"); err != nil { // the script is loaded
		t.Fatal(err)
	}
	c := operator(t, r)
	if err := c.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	list, err := store.List(t.Context(), "alice")
	if err != nil || len(list) != rooms {
		t.Fatalf("List = %d rooms, %v; want %d", len(list), err, rooms)
	}
	for _, b := range list {
		if b.Unread != said-1 || b.AtMost {
			t.Errorf("%+v, want %d unread", b, said-1)
		}
	}
	calls := map[string]int{}
	for line := range strings.Lines(c.Info(t.Context(), "commandstats").Val()) {
		name, stats, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if count, _, ok := strings.Cut(stats, ","); ok {
			calls[name], _ = strconv.Atoi(count)
		}
	}
	for _, own := range []string{"config|resetstat", "info", "ping", "publish"} {
		delete(calls, own)
	}
	if want := map[string]int{"evalsha": 1, "hgetall": 1, "xrevrange": rooms, "xlen": rooms, "zcount": rooms, "hget": rooms}; !maps.Equal(calls, want) {
		t.Errorf("Redis was asked %v, want %v", calls, want)
	}
}

// What a log has lost to its retention is counted as far as it is there.
func TestTrimmedLogCountsAtMost(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	store, log := openBookmarks(t, r.URL())
	chattest.RunBroker(t, log, chattest.NewRecorder())
	fill(t, store, log, 1, 10, []byte(`1`))
	for _, c := range []struct {
		keep, unread int
		atMost       bool
	}{{10, 9, false}, {9, 9, false}, {8, 8, true}, {1, 1, true}} {
		if err := operator(t, r).XTrimMaxLen(t.Context(), "chatring:{room-0}:log", int64(c.keep)).Err(); err != nil {
			t.Fatal(err)
		}
		list, err := store.List(t.Context(), "alice")
		if err != nil || len(list) != 1 || list[0].Unread != c.unread || list[0].AtMost != c.atMost {
			t.Errorf("with %d messages kept: %+v, %v; want %+v", c.keep, list, err, c)
		}
	}
}

// A marker that stands ahead of a log that has lost its tail may go back to where
// the log ends.
func TestMarkerFollowsARewoundLog(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	store, log := openBookmarks(t, r.URL())
	chattest.RunBroker(t, log, chattest.NewRecorder())
	fill(t, store, log, 1, 3, []byte(`1`))
	said, err := log.ReadAfter(t.Context(), "room-0", chat.Position{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	first, last := said[0].Position, said[2].Position
	mark := func(pos chat.Position) chat.Position {
		at, _, err := store.Mark(t.Context(), "alice", "room-0", pos, 1)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	mark(last)
	c := operator(t, r)
	for _, lost := range said[1:] {
		c.XDel(t.Context(), "chatring:{room-0}:log", lost.Position.String())
	}
	if list, err := store.List(t.Context(), "alice"); err != nil || list[0].Unread != 0 {
		t.Errorf("List = %+v, %v; want nothing unread", list, err)
	}
	if at := mark(first); at != first {
		t.Errorf("the marker stands at %s, want %s, where the log ends", at, first)
	}
}

// BenchmarkList asks for the whole list of a user, as the first page of "my rooms"
// does. Repeat it with
//
//	go test -run - -bench List ./app/redisstore
func BenchmarkList(b *testing.B) {
	for _, rooms := range []int{200, 500} {
		for _, bytes := range []int{100, 4000} {
			b.Run(fmt.Sprintf("%d rooms, %dB", rooms, bytes), func(b *testing.B) {
				store, log := openBookmarks(b, chattest.StartRedis(b).URL())
				chattest.RunBroker(b, log, chattest.NewRecorder())
				fill(b, store, log, rooms, 20, []byte(`"`+strings.Repeat("x", bytes)+`"`))
				for b.Loop() {
					list, err := store.List(b.Context(), "alice")
					if err != nil || len(list) != rooms {
						b.Fatalf("List = %d rooms, %v", len(list), err)
					}
				}
			})
		}
	}
}

// operator returns a client for what an operator does by hand.
func operator(t testing.TB, r *chattest.Redis) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}
