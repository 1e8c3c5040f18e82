package session_test

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// An application says no to everything secret, and has its own spelling of "damn".
type application struct{ asked []string }

func (a *application) AuthorizeJoin(_ context.Context, user chat.UserID, session string, room chat.RoomID, watch bool) error {
	a.asked = append(a.asked, fmt.Sprintf("join %s %v %s %v", user, len(session), room, watch))
	return a.judge(string(room))
}

func (a *application) AuthorizePublish(_ context.Context, d chat.Draft, session string) ([]byte, error) {
	a.asked = append(a.asked, fmt.Sprintf("publish %s %v %s %s %s", d.From, len(session), d.Room, d.Key, d.Body))
	return bytes.ReplaceAll(d.Body, []byte("damn"), []byte("d***")), a.judge(string(d.Body))
}

func (a *application) judge(what string) error {
	if strings.Contains(what, "secret") {
		return &protocol.Error{Code: protocol.Forbidden, Message: "hush"}
	}
	return nil
}

// The application has the last word on joins and messages: what it forbids does
// not happen, and what it rewrites is said in its words. What tokens forbid it is
// not asked about, and neither about inboxes.
func TestApplicationHasTheLastWord(t *testing.T) {
	app := &application{}
	limits := session.Limits{Outbox: 1 << 20, Authorizer: app}
	play(t, limits, hub.Join{}, func(t *testing.T, s *session.Session, c *conn) {
		heard := says(s, c,
			`{"id":1,"cmd":"join","room":"secret"}`, `{"id":2,"cmd":"history","room":"secret"}`,
			`{"id":3,"cmd":"join","room":"team"}`, `{"id":4,"cmd":"join","room":"@alice"}`, `{"id":5,"cmd":"join","room":"@bob"}`,
			`{"id":6,"cmd":"publish","room":"team","key":"k6","data":"damn"}`,
			`{"id":7,"cmd":"publish","room":"team","key":"k7","data":"a secret"}`,
			`{"id":8,"cmd":"publish","room":"elsewhere","data":1}`, `{"id":9,"cmd":"publish","room":"@alice","data":1}`,
			`{"id":10,"cmd":"history","room":"team"}`)
		for _, want := range []string{
			`{"id":1,"error":{"code":"forbidden","message":"hush"}}`, `{"id":2,"error":{"code":"not_joined"`,
			`{"id":3,"ok":`, `{"id":4,"ok":`, `{"id":5,"error":{"code":"forbidden"`,
			`{"id":6,"ok":{"pos":`, `{"id":7,"error":{"code":"forbidden","message":"hush"}}`, `"key":"k6"`, `"data":"d***"}`,
		} {
			if !strings.Contains(heard, want) {
				t.Errorf("heard %s, want %s", heard, want)
			}
		}
		if strings.Contains(heard, "damn") || strings.Contains(heard, "a secret") {
			t.Errorf("heard %s, which the application does not allow", heard)
		}
	})
	want := []string{"join alice 16 secret false", "join alice 16 team false", `publish alice 16 team k6 "damn"`, `publish alice 16 team k7 "a secret"`}
	if got := fmt.Sprint(app.asked); got != fmt.Sprint(want) {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// A list of rooms says what they are about, so a room comes there only if the
// application lets the user join it.
func TestApplicationHasTheLastWordOnLists(t *testing.T) {
	app := &application{}
	inHouse(t, func(h *house) {
		h.limits.Authorizer = app
		alice := h.enter("alice", chat.AllRights{}, "lobby")
		alice.wants(`{"error":{"code":"forbidden","message":"hush"}}`, `{"cmd":"read","room":"secret","pos":"0-0"}`)
		for _, room := range []string{"team", "lobby", "@alice"} {
			alice.wants(`{"ok":{"pos":"0-0"}}`, `{"cmd":"read","room":%q,"pos":"0-0"}`, room)
		}
		if page := alice.rooms(); len(page.Rooms) != 3 {
			t.Errorf("alice's rooms are %v", page.Rooms)
		}
	})
	want := []string{"join alice 16 secret false", "join alice 16 team false"}
	if got := fmt.Sprint(app.asked); got != fmt.Sprint(want) {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// An edit says something, too, so the application has the last word on it.
func TestApplicationHasTheLastWordOnEdits(t *testing.T) {
	play(t, session.Limits{Outbox: 1 << 20, Authorizer: &application{}}, hub.Join{}, func(t *testing.T, s *session.Session, c *conn) {
		heard := says(s, c, `{"id":1,"cmd":"publish","room":"lobby","key":"k1","data":"fine"}`)
		pos := regexp.MustCompile(`"ok":{"pos":"([^"]*)"`).FindStringSubmatch(heard)
		if pos == nil {
			t.Fatalf("heard %s", heard)
		}
		heard = says(s, c,
			`{"id":2,"cmd":"edit","room":"lobby","pos":"`+pos[1]+`","data":"a secret"}`,
			`{"id":3,"cmd":"edit","room":"lobby","pos":"`+pos[1]+`","data":"damn"}`)
		for _, want := range []string{`{"id":2,"error":{"code":"forbidden","message":"hush"}}`, `{"id":3,"ok":{"pos":`, `"data":"d***"}`} {
			if !strings.Contains(heard, want) {
				t.Errorf("heard %s, want %s", heard, want)
			}
		}
	})
}

// Who only watches changes nothing, whatever its token allows.
func TestWatchersChangeNothing(t *testing.T) {
	watching(t, func(t *testing.T, s *session.Session, c *conn) {
		c.renew = func(string) chat.Rights { return rights{"lobby": chat.Manage} }
		heard := says(s, c, `{"id":1,"cmd":"auth","token":"t"}`, `{"id":2,"cmd":"edit","room":"lobby","pos":"1-1","data":1}`,
			`{"id":3,"cmd":"delete","room":"lobby","pos":"1-1"}`, `{"id":4,"cmd":"describe","room":"lobby","title":"t"}`,
			`{"id":5,"cmd":"publish","room":"lobby","data":1,"reply_to":"1-1"}`)
		for id := 2; id <= 5; id++ {
			if want := fmt.Sprintf(`{"id":%d,"error":{"code":"forbidden","message":"watchers only listen"}}`, id); !strings.Contains(heard, want) {
				t.Errorf("heard %s, want %s", heard, want)
			}
		}
	})
}

// Watchers only listen, so the application is not asked what they may say.
func TestWatchersAreNotAskedAbout(t *testing.T) {
	app := &application{}
	play(t, session.Limits{Outbox: 1 << 20, Authorizer: app}, hub.Join{Watch: true}, func(_ *testing.T, s *session.Session, c *conn) {
		says(s, c, `{"id":1,"cmd":"publish","room":"lobby","data":1}`, `{"id":2,"cmd":"join","room":"team"}`)
	})
	if got, want := fmt.Sprint(app.asked), "[join alice 16 team true]"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}
