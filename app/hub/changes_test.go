package hub_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/hub"
)

// history is what a node answers of the lobby, as text.
func history(t *testing.T, h *hub.Hub, g hub.Range) string {
	t.Helper()
	messages, _, err := h.History(t.Context(), "lobby", g)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, m := range messages {
		all.Write(m.JSON())
		all.WriteByte('\n')
	}
	return all.String()
}

// Two nodes on a real Redis answer the same latest state, from memory and from the
// log, and so does one that opens the room later; and when Redis has lost everything,
// they bring messages and edits back, and what was deleted stays so.
func TestRedisKeepsLatestState(t *testing.T) {
	r := chattest.StartRedis(t)
	small := options
	small.Window = 4
	one, _ := startOn(t, redisNode(t, r, "1111"), options)
	broker := redisNode(t, r, "2222")
	two, _ := startOn(t, broker, small)
	alice := join(t, one, "lobby", "alice", &listener{}, nil)
	l := &listener{}
	join(t, two, "lobby", "bob", l, nil)
	a, b := say(t, alice, "a"), say(t, alice, "b")
	if _, err := alice.Edit(t.Context(), "a2", a, []byte(`"A"`), false); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Edit(t.Context(), "b2", b, []byte(`"B"`), false); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Delete(t.Context(), "b3", b, false); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Describe(t.Context(), "d", []byte(`{"title":"T"}`)); err != nil {
		t.Fatal(err)
	}
	say(t, alice, "last")
	eventually(t, "the other node hears all", func() bool { return l.has("last") })
	three, _ := startOn(t, redisNode(t, r, "3333"), options)
	join(t, three, "lobby", "carol", &listener{}, nil)
	all := hub.Range{After: &chat.Position{}, Limit: 50}
	want := history(t, one, all)
	for _, there := range []string{`"data":"A"`, `"edited":`, `"deleted":`, `"key":"b","ts":`} {
		if !strings.Contains(want, there) {
			t.Fatalf("history is %s, want %s in it", want, there)
		}
	}
	if strings.Contains(want, `"data":"b"`) || strings.Contains(want, `"data":"B"`) {
		t.Errorf("history has what was deleted: %s", want)
	}
	for node, h := range map[string]*hub.Hub{"from the log": two, "later": three} {
		if got := history(t, h, all); got != want {
			t.Errorf("%s: history is\n%s want\n%s", node, got, want)
		}
	}

	probes := broker.Stats().Probes
	eventually(t, "the node has seen Redis as it is", func() bool { return broker.Stats().Probes > probes+1 })
	hand(t, r).FlushAll(t.Context())
	keys := []string{"a", "b", "a2", "b2", "b3", "d", "last"}
	eventually(t, "the log has it all again", func() bool {
		log, err := broker.ReadAfter(t.Context(), "lobby", chat.Position{}, 50)
		var has []string
		for _, p := range log {
			has = append(has, p.Key)
		}
		slices.Sort(has)
		return err == nil && slices.Equal(has, slices.Sorted(slices.Values(keys)))
	})
	four, _ := startOn(t, redisNode(t, r, "4444"), options)
	join(t, four, "lobby", "dora", &listener{}, nil)
	if got := history(t, four, all); !strings.Contains(got, `"data":"A"`) || strings.Contains(got, `"data":"b"`) || strings.Contains(got, `"data":"B"`) {
		t.Errorf("after the loss history is %s", got)
	}
}

// Other nodes bring back what was deleted behind its deletion: it is answered as
// deleted all the same.
func TestDeletionMayComeFirst(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("before")
		other := s.cluster.Node("2222")
		lost := chat.Publication{Draft: chat.Draft{Room: "lobby", From: "bob", Key: "lost", Body: []byte(`"ugly"`)}, At: time.Now().Add(-time.Hour)}
		target := lost.Target()
		deletion := chat.Publication{
			Draft: chat.Draft{Room: "lobby", From: "bob", Key: "gone", Body: []byte("null"), About: chat.About{Deletes: &target}.String()},
			At:    time.Now(),
		}
		for _, p := range []chat.Publication{deletion, lost} {
			if _, err := other.Restore(s.Context(), p, chat.Position{}); err != nil {
				s.Fatal(err)
			}
		}
		s.settle()
		if got := history(s.T, s.hub, hub.Range{Limit: 9}); strings.Contains(got, "ugly") || !strings.Contains(got, `"key":"lost"`) {
			s.Errorf("history is %s", got)
		}
	})
}
