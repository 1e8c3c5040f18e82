package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/memstore"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// A house is a node with the people who are connected to it.
type house struct {
	t      *testing.T
	log    *log
	hub    *hub.Hub
	limits session.Limits
	end    []func()
}

// A log is a broker that may refuse to append in a room, or append to inboxes only
// when as many others wait for that as gather says.
type log struct {
	chat.Broker
	refuses  chat.RoomID
	together bool
	gather   sync.WaitGroup
}

func (l *log) Append(ctx context.Context, d chat.Draft, seen chat.Position) (chat.Publication, error) {
	if d.Room == l.refuses {
		return chat.Publication{}, chat.ErrUnavailable
	}
	if _, inbox := d.Room.Owner(); inbox && l.together {
		l.gather.Done()
		l.gather.Wait()
	}
	return l.Broker.Append(ctx, d, seen)
}

// inHouse tells a story in a bubble.
func inHouse(t *testing.T, tell func(h *house)) {
	synctest.Test(t, func(t *testing.T) {
		broker := &log{Broker: membroker.New().Node("1111")}
		h := &house{t: t, log: broker, limits: session.Limits{
			Outbox: 1 << 20, Rooms: 10, CommandTimeout: time.Second, Strikes: 3, SignalEvery: 250 * time.Millisecond,
			Bookmarks: memstore.NewBookmarks(broker), RoomList: 5,
		}}
		h.hub = hub.New(broker, hub.Options{
			Window: 64, WindowBudget: 1 << 20, Linger: time.Minute, OpenTimeout: time.Second, FillGrace: time.Millisecond,
		}, &metrics.New("1111", "test").Hub)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- h.hub.Run(ctx) }()
		tell(h)
		for _, end := range h.end {
			end()
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A person is a session and what it hears.
type person struct {
	t       *testing.T
	session *session.Session
	conn    *conn
	asked   int
}

// enter connects a user, who is in some rooms from the beginning.
func (h *house) enter(user chat.UserID, rights chat.Rights, rooms ...chat.RoomID) *person {
	c := &conn{let: make(chan struct{})}
	close(c.let)
	who := session.Who{User: user, Rights: rights, Allowance: &session.Allowance{Rates: &session.Rates{}}}
	s := session.New(h.hub, who, c, &h.limits, &metrics.New("1111", "test").Sessions)
	s.Greet(protocol.Hello{})
	var first []session.First
	for _, room := range rooms {
		first = append(first, session.First{Room: room})
	}
	s.Start(false, first...)
	h.end = append(h.end, func() { s.End() })
	return &person{t: h.t, session: s, conn: c}
}

// ask gives a command, and returns what answers it, without its id.
func (p *person) ask(command string, args ...any) string {
	p.t.Helper()
	p.asked++
	p.session.Handle(fmt.Appendf(nil, `{"id":%d,%s`, p.asked, fmt.Sprintf(command, args...)[1:]))
	synctest.Wait()
	begin := fmt.Sprintf(`{"id":%d,`, p.asked)
	for _, f := range p.heard(begin) {
		return "{" + strings.TrimPrefix(f, begin)
	}
	p.t.Fatalf("%s is not answered", command)
	return ""
}

// wants gives a command that must be answered so.
func (p *person) wants(answer, command string, args ...any) {
	p.t.Helper()
	if got := p.ask(command, args...); got != answer {
		p.t.Errorf("%s is answered with\n%s, want\n%s", fmt.Sprintf(command, args...), got, answer)
	}
}

// fails gives a command that must be answered with an error.
func (p *person) fails(code protocol.Code, command string, args ...any) {
	p.t.Helper()
	if got := p.ask(command, args...); !strings.HasPrefix(got, `{"error":{"code":"`+string(code)+`",`) {
		p.t.Errorf("%s is answered with %s, want %s", fmt.Sprintf(command, args...), got, code)
	}
}

// heard returns the frames that begin so.
func (p *person) heard(begin string) (found []string) {
	synctest.Wait()
	frames, _ := p.conn.written()
	for _, f := range frames {
		if strings.HasPrefix(f, begin) {
			found = append(found, f)
		}
	}
	return found
}

// says publishes something and returns its position.
func (p *person) says(room chat.RoomID, key string) (pos string) {
	p.t.Helper()
	answer := p.ask(`{"cmd":"publish","room":%q,"key":%q,"data":1}`, room, key)
	var reply struct{ Ok struct{ Pos string } }
	if err := json.Unmarshal([]byte(answer), &reply); err != nil || reply.Ok.Pos == "" {
		p.t.Fatalf("publish is answered with %s", answer)
	}
	return reply.Ok.Pos
}

// rooms returns a page of somebody's rooms.
func (p *person) rooms() (page protocol.RoomPage) {
	p.t.Helper()
	answer := p.ask(`{"cmd":"rooms"}`)
	var reply struct{ Ok *protocol.RoomPage }
	if err := json.Unmarshal([]byte(answer), &reply); err != nil || reply.Ok == nil {
		p.t.Fatalf("rooms is answered with %s", answer)
	}
	return *reply.Ok
}

// A user marks how far they have read, and sees what came since, whichever session
// asks. The other sessions hear that a marker moved.
func TestReadAndRooms(t *testing.T) {
	inHouse(t, func(h *house) {
		bob := h.enter("bob", chat.AllRights{}, "lobby", "team")
		phone := h.enter("alice", chat.AllRights{}, "lobby", "@alice")
		laptop := h.enter("alice", chat.AllRights{}, "@alice")
		phone.wants(`{"ok":{"rooms":[]}}`, `{"cmd":"rooms"}`)
		first, last := bob.says("lobby", "1"), bob.says("lobby", "2")
		ts := time.Now().UnixMilli()
		phone.wants(`{"ok":{"pos":"`+first+`"}}`, `{"cmd":"read","room":"lobby","pos":%q}`, first)
		phone.wants(`{"ok":{"pos":"`+first+`"}}`, `{"cmd":"read","room":"lobby","pos":"0-0"}`)
		row := fmt.Sprintf(`{"ok":{"rooms":[{"room":"lobby","unread":1,"read":%q,"pos":%q,"ts":%d}]}}`, first, last, ts)
		laptop.wants(row, `{"cmd":"rooms"}`)
		bob.wants(`{"ok":{"rooms":[]}}`, `{"cmd":"rooms"}`)
		if got := laptop.heard(`{"push":"read"`); len(got) != 1 || got[0] != `{"push":"read","room":"lobby","pos":"`+first+`"}` {
			t.Errorf("the laptop heard %v, want the marker's move once", got)
		}

		time.Sleep(time.Second)
		if got := laptop.heard(`{"push":"read"`); len(got) != 1 {
			t.Errorf("the laptop heard %v, though the marker moved once", got)
		}
		said := bob.says("team", "3")
		laptop.wants(`{"ok":{"pos":"0-0"}}`, `{"cmd":"read","room":"team","pos":"0-0"}`)
		page := laptop.rooms()
		if len(page.Rooms) != 2 || page.Rooms[0].Room != "team" || page.Rooms[0].Pos != said || page.Rooms[0].Unread != 1 || page.Rooms[0].Read != "0-0" {
			t.Errorf("the rooms are %+v, want team first", page.Rooms)
		}
		next := fmt.Sprintf("%d-team", time.Now().UnixMilli())
		laptop.wants(fmt.Sprintf(`{"ok":{"rooms":[{"room":"team","unread":1,"read":"0-0","pos":%q,"ts":%d}],"next":%q}}`, said, time.Now().UnixMilli(), next),
			`{"cmd":"rooms","limit":1}`)
		laptop.wants(row, `{"cmd":"rooms","limit":1,"after":%q}`, next)

		laptop.wants(`{"ok":{}}`, `{"cmd":"forget","room":"team"}`)
		laptop.wants(`{"ok":{}}`, `{"cmd":"forget","room":"team"}`)
		phone.wants(row, `{"cmd":"rooms"}`)
	})
}

// What cannot be marked is refused, and changes nothing.
func TestReadIsRefused(t *testing.T) {
	inHouse(t, func(h *house) {
		alice := h.enter("alice", rights{"lobby": chat.Write, "stage": chat.Watch, "@bob+carol": chat.Manage, "@alice+bob": chat.Read}, "lobby")
		pos := alice.says("lobby", "1")
		for _, room := range []string{"secret", "stage", "@bob", "@bob+carol", "@carol+dave", "@alice+carol"} {
			alice.fails(protocol.Forbidden, `{"cmd":"read","room":%q,"pos":"0-0"}`, room)
		}
		alice.fails(protocol.BadPosition, `{"cmd":"read","room":"lobby","pos":"%s9"}`, pos)
		alice.fails(protocol.BadPosition, `{"cmd":"read","room":"@alice+bob","pos":"1-0"}`)
		alice.fails(protocol.BadRequest, `{"cmd":"rooms","after":"lobby"}`)
		alice.wants(`{"ok":{"rooms":[]}}`, `{"cmd":"rooms"}`)

		owner := h.enter("alice", chat.AllRights{})
		for n := range h.limits.RoomList {
			owner.wants(`{"ok":{"pos":"0-0"}}`, `{"cmd":"read","room":"room-%d","pos":"0-0"}`, n)
		}
		owner.fails(protocol.TooManyRooms, `{"cmd":"read","room":"lobby","pos":%q}`, pos)
		owner.wants(`{"ok":{}}`, `{"cmd":"forget","room":"room-0"}`)
		owner.wants(`{"ok":{"pos":"`+pos+`"}}`, `{"cmd":"read","room":"lobby","pos":%q}`, pos)
	})
}

// Rooms that a token does not allow are on no page. They are counted, and can be
// forgotten.
func TestHiddenRooms(t *testing.T) {
	inHouse(t, func(h *house) {
		all := h.enter("alice", chat.AllRights{})
		for _, room := range []string{"lobby", "secret", "@alice+bob", "@alice"} {
			all.wants(`{"ok":{"pos":"0-0"}}`, `{"cmd":"read","room":%q,"pos":"0-0"}`, room)
		}
		some := h.enter("alice", rights{"lobby": chat.Read})
		const lobby = `{"room":"lobby","unread":0,"read":"0-0","pos":"0-0"}`
		const inbox = `{"room":"@alice","unread":0,"read":"0-0","pos":"0-0"}`
		some.wants(`{"ok":{"rooms":[`+inbox+`,`+lobby+`],"hidden":2}}`, `{"cmd":"rooms"}`)
		some.wants(`{"ok":{}}`, `{"cmd":"forget","hidden":true}`)
		some.wants(`{"ok":{"rooms":[`+inbox+`,`+lobby+`]}}`, `{"cmd":"rooms"}`)
		all.wants(`{"ok":{"rooms":[`+inbox+`,`+lobby+`]}}`, `{"cmd":"rooms"}`)
	})
}

// Of markers that move faster than every 250 ms, the others hear the first at once,
// and then the last.
func TestMarkersCoalesce(t *testing.T) {
	inHouse(t, func(h *house) {
		phone := h.enter("alice", chat.AllRights{}, "lobby", "team")
		laptop := h.enter("alice", chat.AllRights{}, "@alice")
		var said []string
		for n := range 6 {
			said = append(said, phone.says("lobby", fmt.Sprint(n)))
		}
		phone.says("team", "k")
		read := func(n int) string { return `{"push":"read","room":"lobby","pos":"` + said[n] + `"}` }
		hears := func(want ...string) {
			t.Helper()
			if got := laptop.heard(`{"push":"read"`); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("the laptop heard\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		for n := range 4 {
			phone.ask(`{"cmd":"read","room":"lobby","pos":%q}`, said[n])
		}
		hears(read(0))
		time.Sleep(250 * time.Millisecond)
		hears(read(0), read(3))
		phone.ask(`{"cmd":"read","room":"lobby","pos":%q}`, said[4])
		phone.session.End() // what has moved is told all the same
		time.Sleep(250 * time.Millisecond)
		hears(read(0), read(3), read(4))
	})
}

// A node that does not serve chat knows of no rooms but the inbox.
func TestBookmarksOfInboxOnly(t *testing.T) {
	inHouse(t, func(h *house) {
		h.limits.InboxOnly = true
		alice := h.enter("alice", chat.AllRights{}, "@alice")
		alice.fails(protocol.Forbidden, `{"cmd":"read","room":"lobby","pos":"0-0"}`)
		alice.wants(`{"ok":{"pos":"0-0"}}`, `{"cmd":"read","room":"@alice","pos":"0-0"}`)
	})
}
