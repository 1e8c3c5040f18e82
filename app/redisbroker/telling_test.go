package redisbroker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

// An event for the application is in its queue exactly if the message is in its
// log: in rooms that are told of, once for each message, however often a sender
// tries, and again for what is restored. So many may wait; the oldest go.
func TestApplicationIsTold(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, _ := start(t, redisbroker.Options{
		URL: r.URL(), AppID: "1111", Backlog: 50,
		Tells: func(room chat.RoomID) bool { return strings.HasPrefix(string(room), "told") || room == "@a+b" },
	})
	c := operator(t, r)
	queue := func() (events []string) {
		entries, err := c.XRange(t.Context(), "chatring:webhooks", "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			v := e.Values
			events = append(events, fmt.Sprint(v["type"], " ", v["room"], " ", v["pos"], " ", v["at"], " ", v["from"], " ", v["key"], " ", v["about"], " ", v["body"]))
		}
		return events
	}
	event := func(p chat.Publication) string {
		return fmt.Sprint("message_published ", p.Room, " ", p.Position, " ", p.At.UnixMilli(), " ", p.From, " ", p.Key, " ", p.About, " ", string(p.Body))
	}
	say(t, b, "silent", "k1")
	first, direct := say(t, b, "told", "k1"), say(t, b, "@a+b", "k1")
	say(t, b, "told", "k1") // once more
	d := draft("told", "k2")
	d.About = chat.About{Mentions: []chat.UserID{"bob"}}.String()
	mention, err := b.Append(t.Context(), d, chat.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(t.Context(), draft("told", "unseen"), chat.Position{Epoch: first.Epoch, Offset: 9}); err == nil {
		t.Error("an append to a log that has lost its tail is taken")
	}
	if got, want := fmt.Sprint(queue()), fmt.Sprint([]string{event(first), event(direct), event(mention)}); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	restored, err := b.Restore(t.Context(), chat.Publication{Draft: draft("told", "lost"), At: time.UnixMilli(7)}, chat.Position{Epoch: first.Epoch, Offset: 9})
	if err != nil {
		t.Fatal(err)
	}
	if got := queue(); len(got) != 4 || got[3] != event(restored) {
		t.Errorf("told %v, want %s as well", got, event(restored))
	}
	for i := range 500 {
		say(t, b, "told", fmt.Sprint("more", i))
	}
	if n := len(queue()); n < 50 || n > 250 {
		t.Errorf("%d events wait, want about 50", n)
	}
}
