package protocol_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/memstore"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// A moment is what stands against a command.
type moment struct {
	rights chat.Rights // nil: all
	watch  bool        // the session is a watcher's
	joined []chat.RoomID
	limit  func(*session.Limits)
	used   bool // the command's key, by a message to whose place the command refers
	down   bool // the log
}

// moments are ways in which commands fail, one after the other.
func moments() []moment {
	const mine, ours = "@alice", "@alice+bob"
	in := []chat.RoomID{"lobby", "team", mine, ours}
	return []moment{
		{},
		{joined: in},
		{joined: in, watch: true},
		{joined: in, rights: access(chat.Watch), watch: true},
		{joined: in, rights: access(chat.Read)},
		{rights: access(chat.NoAccess)},
		{joined: in, used: true, rights: access(chat.Manage)},
		{joined: in, down: true, rights: access(chat.Manage)},
		{down: true},
		{limit: func(l *session.Limits) { l.Rooms, l.RoomList = 0, 0 }},
		{limit: func(l *session.Limits) { l.InboxOnly = true }},
		{limit: func(l *session.Limits) { l.Bookmarks = nowhere{} }},
		{limit: func(l *session.Limits) { l.Rates = session.Rates{Messages: 1, Burst: time.Millisecond} }},
		{joined: in, limit: func(l *session.Limits) { l.Authorizer = application{} }},
		{joined: in, limit: func(l *session.Limits) { l.Contacts = refusing{because: &protocol.Error{Code: protocol.Forbidden}} }},
		{joined: in, limit: func(l *session.Limits) { l.Contacts = refusing{because: chat.ErrUnavailable} }},
	}
}

// A command fails with the errors that its operation names, and no others: as it is
// read, and in every moment. Faults of the server are not provoked.
func TestAsyncAPIHasTheErrorsOfTheCode(t *testing.T) {
	d := readAsyncAPI(t)
	commands, _, _ := d.messages()
	seen := map[string]map[string]bool{}
	commands = slices.DeleteFunc(commands, func(c string) bool { return strings.Contains(c, ".") })
	for _, command := range commands {
		seen[command] = map[string]bool{"internal": true}
		for frame := range d.variants(t, command) {
			if _, refused := protocol.ParseCommand(frame); refused != nil {
				seen[command][string(refused.Code)] = true
			}
		}
	}
	for _, m := range moments() {
		synctest.Test(t, func(t *testing.T) {
			for _, command := range commands {
				for _, frame := range d.elsewhere(t, command) {
					if refused := m.give(t, frame); refused != nil {
						seen[command][string(refused.Code)] = true
					}
				}
			}
		})
	}
	for _, name := range inGateway(t, "conn.go", `Code: protocol\.(\w+)`) { // which answers auth
		seen["auth"][strings.ToLower(inWord.ReplaceAllString(name, "${1}_$2"))] = true
	}
	for _, command := range commands {
		same(t, "errors of "+command, d.errors(command), slices.Collect(maps.Keys(seen[command])))
	}
}

var inWord = regexp.MustCompile("([a-z])([A-Z])")

// elsewhere returns the examples of a command, as they are and in other rooms.
func (d *asyncAPI) elsewhere(t *testing.T, command string) (frames [][]byte) {
	t.Helper()
	for _, example := range d.list("components", "messages", command, "examples") {
		payload, _ := example.(map[string]any)["payload"].(map[string]any)
		frames = append(frames, marshal(t, payload))
		for _, room := range []string{"@alice", "@alice+bob", "@bob"} {
			if _, named := payload["room"]; named {
				there := maps.Clone(payload)
				there["room"] = room
				if payload["pos"] != nil {
					there["pos"] = "0-0" // where every room begins
				}
				frames = append(frames, marshal(t, there))
			}
		}
	}
	return frames
}

// give has alice give a command on a node of its own, and returns the error that
// answers it, if one does.
func (m moment) give(t *testing.T, frame []byte) *protocol.Error {
	t.Helper()
	cluster := membroker.New()
	broker := cluster.Node("1111")
	h := hub.New(broker, hub.Options{Window: 4, WindowBudget: 1 << 20, Linger: time.Minute, OpenTimeout: time.Second}, &counters.Hub)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	limits := session.Limits{Outbox: 1 << 20, Rooms: 9, CommandTimeout: 2 * time.Second, Strikes: 9, Bookmarks: memstore.NewBookmarks(broker), RoomList: 9}
	if m.limit != nil {
		m.limit(&limits)
	}
	if m.rights == nil {
		m.rights = chat.AllRights{}
	}
	var ear ear
	who := session.Who{User: "alice", Rights: m.rights, Allowance: &session.Allowance{Rates: &session.Rates{}}}
	s := session.New(h, who, &ear, &limits, &counters.Sessions)
	defer s.End()
	s.Greet(protocol.Hello{})
	var first []session.First
	for _, room := range m.joined {
		first = append(first, session.First{Room: room})
	}
	s.Start(m.watch, first...)
	if m.used {
		frame = ear.use(t, s, frame)
	}
	cluster.SetDown(m.down)
	s.Handle(frame)
	synctest.Wait()

	reply := ear.answer(t, frame)
	return reply.Error
}

// use publishes something else under the key of a command, and returns the command
// with the place of that.
func (e *ear) use(t *testing.T, s *session.Session, frame []byte) []byte {
	t.Helper()
	var command map[string]any
	strict(t, frame, &command)
	if command["key"] == nil {
		return frame
	}
	publish := marshal(t, map[string]any{"id": 99, "cmd": "publish", "room": command["room"], "key": command["key"], "data": "other"})
	s.Handle(publish)
	said := e.answer(t, publish)
	for _, field := range []string{"pos", "reply_to"} {
		if command[field] != nil && said.Ok != nil {
			command[field] = said.Ok.Pos
		}
	}
	return marshal(t, command)
}

type answer struct {
	ID    uint64
	Ok    *struct{ Pos string }
	Error *protocol.Error
}

// answer returns what has answered a command.
func (e *ear) answer(t *testing.T, frame []byte) (a answer) {
	t.Helper()
	var asked struct{ ID uint64 }
	if err := json.Unmarshal(frame, &asked); err != nil {
		t.Fatal(err)
	}
	for _, said := range e.heard {
		a = answer{}
		if err := json.Unmarshal(said, &a); err == nil && a.ID == asked.ID && (a.Ok != nil || a.Error != nil) {
			return a
		}
	}
	t.Fatalf("%s is not answered", frame)
	return a
}

// access is the same in every room.
type access chat.Access

func (a access) Access(chat.RoomID) chat.Access { return chat.Access(a) }

// refusing lets nobody write to anybody. It implements session.Contacts.
type refusing struct {
	session.Contacts // for what no command here asks
	because          error
}

func (r refusing) MayWrite(context.Context, chat.UserID, chat.UserID) error { return r.because }

// application refuses whatever it is asked. It implements session.Authorizer.
type application struct{}

func (application) AuthorizeJoin(context.Context, chat.UserID, string, chat.RoomID, bool) error {
	return &protocol.Error{Code: protocol.Forbidden}
}

func (application) AuthorizePublish(context.Context, chat.Draft, string) ([]byte, error) {
	return nil, &protocol.Error{Code: protocol.Unavailable}
}

// nowhere keeps no rooms. It implements bookmarks.Store.
type nowhere struct {
	bookmarks.Store // for what no command here asks
}

var errNowhere = fmt.Errorf("bookmarks: %w", chat.ErrUnavailable)

func (nowhere) Mark(context.Context, chat.UserID, chat.RoomID, chat.Position, int) (at chat.Position, moved bool, err error) {
	return at, false, errNowhere
}

func (nowhere) Add(context.Context, chat.RoomID, chat.Position, map[chat.UserID]chat.Position, int) error {
	return errNowhere
}

func (nowhere) List(context.Context, chat.UserID) ([]bookmarks.Bookmark, error) {
	return nil, errNowhere
}

func (nowhere) Forget(context.Context, chat.UserID, ...chat.RoomID) error { return errNowhere }

// An ear takes whatever a session says. It implements session.Conn.
type ear struct{ heard [][]byte }

func (e *ear) TryWrite(b protocol.Batch) int {
	for f := range b.Frames() {
		e.heard = append(e.heard, f.JSON())
	}
	return len(b)
}

func (e *ear) Write([]protocol.Batch) (bool, protocol.CloseCode) { return true, 0 }
func (e *ear) Hurry()                                            {}
func (e *ear) Finish(protocol.CloseCode)                         {}
func (e *ear) Renew(string) (chat.Rights, time.Duration, *protocol.Error) {
	return chat.AllRights{}, time.Hour, nil
}
