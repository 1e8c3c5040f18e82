package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// inbox returns what stands in somebody's inbox.
func (h *house) inbox(user chat.UserID) (notices []string) {
	h.t.Helper()
	all, err := h.log.ReadAfter(h.t.Context(), chat.Inbox(user), chat.Position{}, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, p := range all {
		if _, err := chat.ParseKey(p.Key); err != nil {
			h.t.Errorf("a notice has the key %q", p.Key)
		}
		notices = append(notices, string(p.Body))
	}
	return notices
}

func (h *house) wantsInbox(user chat.UserID, want ...string) {
	h.t.Helper()
	if got := h.inbox(user); strings.Join(got, "\n") != strings.Join(want, "\n") {
		h.t.Errorf("the inbox of %s has\n%s, want\n%s", user, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func direct(pos string) string {
	return `{"type":"direct","room":"@alice+bob","pos":"` + pos + `","from":"alice"}`
}

// A direct room is joined by its other member's name, or by its own. What is said
// there waits in the other one's inbox, and the room is on both lists.
func TestDirectMessage(t *testing.T) {
	inHouse(t, func(h *house) {
		alice := h.enter("alice", chat.AllRights{})
		alice.wants(`{"ok":{"room":"@alice+bob","pos":"0-0"}}`, `{"cmd":"join","user":"bob"}`)
		alice.fails(protocol.AlreadyJoined, `{"cmd":"join","room":"@alice+bob"}`)
		alice.fails(protocol.BadRoom, `{"cmd":"join","user":"alice"}`)
		if page := alice.rooms(); len(page.Rooms) != 1 || page.Rooms[0].Room != "@alice+bob" {
			t.Errorf("the rooms of alice are %+v, want the direct one", page.Rooms)
		}
		alice.ask(`{"cmd":"leave","room":"@alice+bob"}`)
		alice.ask(`{"cmd":"forget","room":"@alice+bob"}`)
		alice.ask(`{"cmd":"join","room":"@alice+bob","since":"0-0"}`)
		if page := alice.rooms(); len(page.Rooms) != 0 {
			t.Errorf("the rooms of alice are %+v, though she was there before", page.Rooms)
		}
		bob := h.enter("bob", chat.AllRights{}, "@bob")
		if page := bob.rooms(); len(page.Rooms) != 0 {
			t.Errorf("the rooms of bob are %+v, though nothing was said", page.Rooms)
		}
		first, second := alice.says("@alice+bob", "1"), alice.says("@alice+bob", "2")
		if got := bob.heard(`{"push":"message","room":"@bob"`); len(got) != 2 {
			t.Errorf("bob heard %v, want two messages in the inbox", got)
		}
		h.wantsInbox("bob", direct(first), direct(second))
		h.wantsInbox("alice")
		if page := bob.rooms(); len(page.Rooms) != 1 || page.Rooms[0].Unread != 2 {
			t.Errorf("the rooms of bob are %+v, want two messages unread", page.Rooms)
		}

		bob.wants(`{"ok":{}}`, `{"cmd":"forget","room":"@alice+bob"}`)
		third := alice.says("@alice+bob", "3")
		if page := bob.rooms(); len(page.Rooms) != 1 || page.Rooms[0].Unread != 1 {
			t.Errorf("the rooms of bob, who has forgotten this one, are %+v, want one message unread", page.Rooms)
		}
		bob.wants(`{"ok":{"pos":"`+third+`"}}`, `{"cmd":"join","room":"@alice+bob"}`)
		answer := bob.says("@alice+bob", "4")
		h.wantsInbox("alice", `{"type":"direct","room":"@alice+bob","pos":"`+answer+`","from":"bob"}`)
	})
}

// What somebody says is read by them, if what was said before is.
func TestDirectMessageIsReadByItsSender(t *testing.T) {
	inHouse(t, func(h *house) {
		alice, bob := h.enter("alice", chat.AllRights{}), h.enter("bob", chat.AllRights{}, "@alice+bob")
		alice.ask(`{"cmd":"join","user":"bob"}`)
		has := func(p *person, unread int) {
			t.Helper()
			if page := p.rooms(); len(page.Rooms) != 1 || page.Rooms[0].Unread != unread {
				t.Errorf("the rooms are %+v, want %d unread", page.Rooms, unread)
			}
		}
		alice.says("@alice+bob", "1")
		alice.says("@alice+bob", "2")
		has(alice, 0)
		has(bob, 2)
		bob.says("@alice+bob", "3") // and has not said how far he has read
		has(alice, 1)
		has(bob, 3)
	})
}

// An acknowledged direct message waits for its reader. When the inbox cannot be
// reached, it is not acknowledged, and sent again it is delivered, once.
func TestDirectMessageWaits(t *testing.T) {
	inHouse(t, func(h *house) {
		alice := h.enter("alice", chat.AllRights{}, "@alice+bob")
		h.log.refuses = "@bob"
		const publish = `{"cmd":"publish","room":"@alice+bob","key":"k","data":1}`
		alice.fails(protocol.Unavailable, publish)
		h.wantsInbox("bob")
		h.log.refuses = ""
		pos := alice.says("@alice+bob", "k")
		h.wantsInbox("bob", direct(pos))
		time.Sleep(time.Second)
		if again := alice.says("@alice+bob", "k"); again != pos {
			t.Errorf("sent again it has the position %s, want %s", again, pos)
		}
		h.wantsInbox("bob", direct(pos))
	})
}

// A direct room of others is forbidden, whether it has been used or not.
func TestForeignDirectRoom(t *testing.T) {
	inHouse(t, func(h *house) {
		h.enter("alice", chat.AllRights{}, "@alice+bob").says("@alice+bob", "1")
		mallory := h.enter("mallory", chat.AllRights{})
		for _, command := range []string{`{"cmd":"join","room":%q}`, `{"cmd":"read","room":%q,"pos":"0-0"}`, `{"cmd":"read","room":%q,"pos":"9-9"}`, `{"cmd":"publish","room":%q,"data":1}`, `{"cmd":"history","room":%q}`} {
			used, unused := mallory.ask(command, "@alice+bob"), mallory.ask(command, "@alice+carol")
			if used != unused || !strings.Contains(used, `"error"`) {
				t.Errorf("%s is answered with %s where something was said, else with %s", command, used, unused)
			}
		}
	})
}

// Contacts refuse whoever writes to somebody listed, or know nothing.
type contacts map[chat.UserID]error

func (c contacts) MayWrite(_ context.Context, from, to chat.UserID) error {
	if from != "alice" {
		return nil
	}
	return c[to]
}

func (c contacts) MayName(ctx context.Context, from, to chat.UserID) error {
	return c.MayWrite(ctx, from, to)
}

var (
	errBlocked = &protocol.Error{Code: protocol.Forbidden, Message: "you may not write to this user"}
	errUnknown = fmt.Errorf("contacts: %w", chat.ErrUnavailable)
)

// Who may not write to somebody says nothing in their direct room, and does not
// learn whether they are there.
func TestBlockedDirectRoom(t *testing.T) {
	inHouse(t, func(h *house) {
		h.limits.Contacts = contacts{"bob": errBlocked, "carol": errUnknown}
		alice, bob := h.enter("alice", chat.AllRights{}), h.enter("bob", chat.AllRights{}, "@bob")
		alice.wants(`{"ok":{"room":"@alice+bob","pos":"0-0"}}`, `{"cmd":"join","user":"bob","members":true}`)
		bob.wants(`{"ok":{"pos":"0-0"}}`, `{"cmd":"join","room":"@alice+bob"}`)
		for _, command := range []string{`"publish","data":1`, `"signal","data":1`, `"presence"`} {
			alice.wants(`{"error":{"code":"forbidden","message":"you may not write to this user"}}`, `{"cmd":%s,"room":"@alice+bob"}`, command)
		}
		alice.wants(`{"ok":{"messages":[],"more":false}}`, `{"cmd":"history","room":"@alice+bob"}`)
		if heard := append(bob.heard(`{"push":"message"`), bob.heard(`{"push":"signal"`)...); len(heard) > 0 {
			t.Errorf("bob heard %v", heard)
		}
		if heard := alice.heard(`{"push":"member"`); len(heard) > 0 {
			t.Errorf("alice heard %v", heard)
		}
		h.wantsInbox("bob")
		bob.says("@alice+bob", "1")

		alice.wants(`{"ok":{"room":"@alice+carol","pos":"0-0"}}`, `{"cmd":"join","user":"carol"}`)
		alice.fails(protocol.Unavailable, `{"cmd":"publish","room":"@alice+carol","data":1}`)
	})
}

// Strangers may not write to each other, in neither direction.
type strangers map[chat.UserID]bool

func (s strangers) MayWrite(_ context.Context, from, to chat.UserID) error {
	if s[from] || s[to] {
		return errBlocked
	}
	return nil
}

func (s strangers) MayName(ctx context.Context, from, to chat.UserID) error {
	return s.MayWrite(ctx, from, to)
}

// Who was in the direct room when the other one ended it does not hear when that one
// comes again.
func TestMembersOfAnEndedDirectRoom(t *testing.T) {
	inHouse(t, func(h *house) {
		no := strangers{}
		h.limits.Contacts = no
		alice, bob := h.enter("alice", chat.AllRights{}), h.enter("bob", chat.AllRights{})
		alice.ask(`{"cmd":"join","user":"bob","members":true}`)
		bob.ask(`{"cmd":"join","user":"alice"}`)
		bob.ask(`{"cmd":"leave","room":"@alice+bob"}`)
		before := alice.heard(`{"push":"member"`)
		if len(before) != 2 {
			t.Errorf("of a friend alice heard %v", before)
		}
		no["bob"] = true
		bob.ask(`{"cmd":"join","user":"alice"}`)
		bob.ask(`{"cmd":"leave","room":"@alice+bob"}`)
		if heard := alice.heard(`{"push":"member"`); len(heard) != len(before) {
			t.Errorf("alice heard %v", heard[len(before):])
		}
	})
}

// A full list of rooms keeps nobody from being written to.
func TestDirectMessageToAFullList(t *testing.T) {
	inHouse(t, func(h *house) {
		bob := h.enter("bob", chat.AllRights{})
		for n := range h.limits.RoomList {
			bob.ask(`{"cmd":"read","room":"room-%d","pos":"0-0"}`, n)
		}
		pos := h.enter("alice", chat.AllRights{}, "@alice+bob").says("@alice+bob", "1")
		h.wantsInbox("bob", direct(pos))
		if page := bob.rooms(); len(page.Rooms) != h.limits.RoomList {
			t.Errorf("bob has %d rooms, want %d", len(page.Rooms), h.limits.RoomList)
		}
	})
}

func mention(pos string) string {
	return `{"type":"mention","room":"lobby","pos":"` + pos + `","from":"alice"}`
}

// pos is the position in an answer.
func (p *person) pos(answer string) string {
	p.t.Helper()
	pos, ok := strings.CutPrefix(answer, `{"ok":{"pos":"`)
	if !ok {
		p.t.Fatalf("answered with %s", answer)
	}
	return strings.TrimSuffix(pos, `"}}`)
}

// Who is named is told in the inbox, once, if the room is on their list, and unless
// the sender may not name them. Before that the message is not acknowledged.
func TestMentions(t *testing.T) {
	inHouse(t, func(h *house) {
		h.limits.Contacts = contacts{"blocker": errBlocked, "unknown": errUnknown}
		for _, keeper := range []chat.UserID{"alice", "bob", "blocker", "unknown"} {
			h.enter(keeper, chat.AllRights{}).ask(`{"cmd":"read","room":"lobby","pos":"0-0"}`)
		}
		alice := h.enter("alice", chat.AllRights{}, "lobby", "@alice+bob")
		const publish = `{"cmd":"publish","room":"lobby","key":"k","data":1,"mentions":["bob","stranger","blocker","alice"]}`
		h.log.refuses = "@bob"
		alice.fails(protocol.Unavailable, publish)
		h.log.refuses = ""
		pos := alice.pos(alice.ask(publish))
		if again := alice.pos(alice.ask(publish)); again != pos {
			t.Errorf("sent again it has the position %s, want %s", again, pos)
		}
		h.wantsInbox("bob", mention(pos))
		for _, user := range []chat.UserID{"alice", "stranger", "blocker"} {
			h.wantsInbox(user)
		}
		alice.fails(protocol.Unavailable, `{"cmd":"publish","room":"lobby","data":1,"mentions":["unknown"]}`)
		h.wantsInbox("unknown")

		// In a direct room, the other one is told anyway, and nobody else.
		h.enter("bob", chat.AllRights{}).ask(`{"cmd":"read","room":"@alice+bob","pos":"0-0"}`)
		said := alice.pos(alice.ask(`{"cmd":"publish","room":"@alice+bob","data":1,"mentions":["bob","blocker"]}`))
		h.wantsInbox("bob", mention(pos), direct(said))
		h.wantsInbox("blocker")
	})
}

// As many users as a message may name are told at the same time.
func TestMentionsAreDeliveredTogether(t *testing.T) {
	inHouse(t, func(h *house) {
		var users []string
		for n := range protocol.MaxMentions {
			user := fmt.Sprint("user-", n)
			users = append(users, strconv.Quote(user))
			h.enter(chat.UserID(user), chat.AllRights{}).ask(`{"cmd":"read","room":"lobby","pos":"0-0"}`)
		}
		alice := h.enter("alice", chat.AllRights{}, "lobby")
		h.log.gather.Add(protocol.MaxMentions)
		h.log.together = true
		pos := alice.pos(alice.ask(`{"cmd":"publish","room":"lobby","data":1,"mentions":[%s]}`, strings.Join(users, ",")))
		h.wantsInbox("user-7", mention(pos))
	})
}

// Who may not write to somebody does not change what they have said there before.
func TestBlockedEdits(t *testing.T) {
	inHouse(t, func(h *house) {
		alice := h.enter("alice", chat.AllRights{}, "@alice+bob")
		pos := alice.says("@alice+bob", "1")
		h.limits.Contacts = contacts{"bob": errBlocked}
		alice.fails(protocol.Forbidden, `{"cmd":"edit","room":"@alice+bob","pos":%q,"data":2}`, pos)
		if answer := alice.ask(`{"cmd":"delete","room":"@alice+bob","pos":%q}`, pos); !strings.HasPrefix(answer, `{"ok":`) {
			t.Errorf("delete is answered with %s", answer)
		}
		h.wantsInbox("bob", direct(pos)) // which no change is told to
	})
}

// Long topics make a page shorter. All pages together have each room.
func TestPageOfLongTopics(t *testing.T) {
	inHouse(t, func(h *house) {
		const rooms = 40
		h.limits.Rooms, h.limits.RoomList = rooms, rooms
		may := rights{}
		for n := range rooms {
			may[chat.RoomID(fmt.Sprint("room-", n))] = chat.Manage
		}
		alice := h.enter("alice", may)
		for room := range may {
			alice.ask(`{"cmd":"join","room":%q}`, room)
			alice.ask(`{"cmd":"describe","room":%q,"topic":%q}`, room, strings.Repeat("<", protocol.MaxTopic))
			alice.ask(`{"cmd":"read","room":%q,"pos":"0-0"}`, room)
		}
		seen, after := 0, ""
		for {
			answer := alice.ask(`{"cmd":"rooms","limit":200,"after":%q}`, after)
			var reply struct{ Ok protocol.RoomPage }
			if err := json.Unmarshal([]byte(answer), &reply); err != nil || len(answer) > 129<<10 || len(reply.Ok.Rooms) == 0 {
				t.Fatalf("%d rooms in %d bytes, %v", len(reply.Ok.Rooms), len(answer), err)
			}
			seen += len(reply.Ok.Rooms)
			if after = reply.Ok.Next; after == "" {
				break
			}
		}
		if seen != rooms {
			t.Errorf("the pages have %d rooms, want %d", seen, rooms)
		}
	})
}

// Titles and topics stand in the list of rooms.
func TestRoomsAreDescribed(t *testing.T) {
	inHouse(t, func(h *house) {
		manager := h.enter("alice", rights{"lobby": chat.Manage}, "lobby")
		manager.ask(`{"cmd":"describe","room":"lobby","title":"The lobby","topic":"all"}`)
		manager.ask(`{"cmd":"read","room":"lobby","pos":"0-0"}`)
		if page := manager.rooms(); len(page.Rooms) != 1 || page.Rooms[0].Title != "The lobby" || page.Rooms[0].Topic != "all" || page.Rooms[0].Unread != 0 {
			t.Errorf("the rooms are %+v", page.Rooms)
		}
	})
}
