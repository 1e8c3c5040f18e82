package session_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// rights are those of a token that names every room that it allows.
type rights map[chat.RoomID]chat.Access

func (r rights) Access(room chat.RoomID) chat.Access { return r[room] }

// says gives commands to a session and returns what it writes meanwhile.
func says(s *session.Session, c *conn, commands ...string) string {
	for range 100 {
		c.let <- struct{}{}
	}
	synctest.Wait()
	before, _ := c.written()
	for _, command := range commands {
		s.Handle([]byte(command))
	}
	synctest.Wait()
	after, _ := c.written()
	for len(c.let) > 0 {
		<-c.let
	}
	return strings.Join(after[len(before):], "\n")
}

// Each command needs its right, in the room that it names, and what is missing
// is said.
func TestRights(t *testing.T) {
	inBubble(t, 1<<20, func(t *testing.T, s *session.Session, c *conn) {
		c.renew = func(string) chat.Rights {
			return rights{"lobby": chat.Read, "team": chat.Write, "stage": chat.Watch, "desk": chat.Manage}
		}
		says(s, c, `{"id":1,"cmd":"auth","token":"t"}`, `{"id":2,"cmd":"join","room":"team"}`, `{"id":3,"cmd":"join","room":"desk"}`)
		const manage = "the token does not allow to manage this room"
		const write, watch, none = "the token does not allow to write in this room",
			"the token allows to watch this room only: connect to /ws/watch", "the token does not allow this room"
		for i, x := range []struct{ command, missing string }{
			{`"publish","room":"lobby","data":1`, write},
			{`"signal","room":"lobby","data":1`, write},
			{`"edit","room":"lobby","pos":"1-1","data":1`, write},
			{`"delete","room":"lobby","pos":"1-1"`, write},
			{`"describe","room":"lobby","title":"t"`, manage},
			{`"describe","room":"team","title":"t"`, manage},
			{`"describe","room":"desk","title":"t"`, ""},
			{`"history","room":"lobby"`, ""},
			{`"presence","room":"lobby"`, ""},
			{`"publish","room":"team","data":1`, ""},
			{`"signal","room":"team","data":1`, ""},
			{`"join","room":"stage"`, watch},
			{`"join","room":"cellar"`, none},
			{`"leave","room":"lobby"`, ""},
		} {
			heard := says(s, c, fmt.Sprintf(`{"id":%d,"cmd":%s}`, i+10, x.command))
			want := fmt.Sprintf(`{"id":%d,"ok":`, i+10)
			if x.missing != "" {
				want = fmt.Sprintf(`{"id":%d,"error":{"code":"forbidden","message":%q}}`, i+10, x.missing)
			}
			if !strings.Contains(heard, want) {
				t.Errorf("%s is answered with %s, want %s", x.command, heard, want)
			}
		}
	})
}

// Who may only watch may be a watcher, hears no history and sees nobody.
func TestWatchRight(t *testing.T) {
	for _, c := range []struct {
		access chat.Access
		watch  bool
		may    bool
	}{
		{chat.NoAccess, true, false},
		{chat.Watch, true, true},
		{chat.Watch, false, false},
		{chat.Read, false, true},
		{chat.Read, true, true},
		{chat.Write, true, true},
	} {
		if bad := session.MayJoin("alice", rights{"stage": c.access}, "stage", c.watch); (bad == nil) != c.may {
			t.Errorf("access %d, watch %v: %v, want it allowed: %v", c.access, c.watch, bad, c.may)
		}
	}
	watching(t, func(t *testing.T, s *session.Session, c *conn) {
		c.renew = func(string) chat.Rights { return rights{"lobby": chat.Watch, "stage": chat.Watch} }
		heard := says(s, c, `{"id":1,"cmd":"auth","token":"t"}`, `{"id":2,"cmd":"join","room":"stage"}`,
			`{"id":3,"cmd":"history","room":"lobby"}`, `{"id":4,"cmd":"presence","room":"lobby"}`)
		const only = `"error":{"code":"forbidden","message":"the token allows to watch this room only"}}`
		for _, want := range []string{`{"id":1,"ok":`, `{"id":2,"ok":`, `{"id":3,` + only, `{"id":4,` + only} {
			if !strings.Contains(heard, want) {
				t.Errorf("heard %s, want %s", heard, want)
			}
		}
	})
}

// A fresh token holds at once: rooms that it does not allow are left with a
// word, before the answer, and what it allows beyond the last one is allowed.
func TestFreshToken(t *testing.T) {
	inBubble(t, 1<<20, func(t *testing.T, s *session.Session, c *conn) {
		c.renew = func(token string) chat.Rights {
			if token == "less" {
				return rights{"team": chat.Read}
			}
			return rights{"team": chat.Write, "lobby": chat.Write}
		}
		says(s, c, `{"id":1,"cmd":"join","room":"team"}`)
		got := says(s, c, `{"id":2,"cmd":"auth","token":"less"}`)
		if want := `{"push":"left","room":"lobby","code":"forbidden"}` + "\n" + `{"id":2,"ok":{"expires_in_ms":3600000}}`; got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
		got = says(s, c, `{"id":3,"cmd":"publish","room":"lobby","data":1}`, `{"id":4,"cmd":"publish","room":"team","data":1}`)
		if !strings.Contains(got, `{"id":3,"error":{"code":"not_joined"`) || !strings.Contains(got, `{"id":4,"error":{"code":"forbidden"`) {
			t.Errorf("heard %s, want not_joined and forbidden", got)
		}
		got = says(s, c, `{"id":5,"cmd":"auth","token":"more"}`, `{"id":6,"cmd":"publish","room":"team","data":1}`, `{"id":7,"cmd":"join","room":"lobby"}`)
		for _, want := range []string{`{"id":5,"ok":`, `{"id":6,"ok":`, `{"id":7,"ok":`} {
			if !strings.Contains(got, want) {
				t.Errorf("heard %s, want %s", got, want)
			}
		}
		got = says(s, c, `{"id":8,"cmd":"publish","room":"lobby","data":1}`)
		if n := strings.Count(got, `"push":"message"`); n != 1 {
			t.Errorf("the room that was left and joined again is heard %d times", n)
		}
	})
}

// Bad tokens change nothing, and who goes on showing them is closed; a good one
// in between begins the count anew.
func TestBadTokens(t *testing.T) {
	inBubble(t, 1<<20, func(t *testing.T, s *session.Session, c *conn) {
		good := func(string) chat.Rights { return chat.AllRights{} }
		for i, renew := range []func(string) chat.Rights{nil, nil, good, nil, nil} {
			c.renew = renew
			says(s, c, `{"id":1,"cmd":"auth","token":"t"}`)
			if got := says(s, c, `{"id":2,"cmd":"publish","room":"lobby","data":1}`); !strings.Contains(got, `{"id":2,"ok":`) {
				t.Fatalf("after token %d: %s", i, got)
			}
		}
		if got, want := says(s, c, `{"id":3,"cmd":"auth","token":"t"}`), `{"id":3,"error":{"code":"bad_token","message":"no token is good"}}`; got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
		if c.code != protocol.ClosePolicy {
			t.Errorf("closed with %d, want %d", c.code, protocol.ClosePolicy)
		}
	})
}
