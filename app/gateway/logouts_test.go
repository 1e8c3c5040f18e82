package gateway_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
)

// LogOut closes what lives by a token that was issued before, in every room,
// and nothing else.
func TestLogOut(t *testing.T) {
	var began time.Time
	bubble(t, func(t *testing.T, n *node) {
		one, two := n.listen(t, "/ws/chat/lobby?user=alice,iat=10", true), n.listen(t, "/ws/watch/team?user=alice,iat=11", true)
		later, bob := n.listen(t, "/ws/chat/lobby?user=alice,iat=12", true), n.listen(t, "/ws/chat/lobby?user=bob,iat=10", true)
		n.LogOut("alice", began.Add(11*time.Second))
		n.LogOut("carol", began.Add(11*time.Second))
		synctest.Wait()
		for i, l := range []*listener{one, two} {
			if code, at := l.end(); code != 4502 || at != 0 {
				t.Errorf("socket %d closed with %d after %v, want 4502 at once", i, code, at)
			}
		}
		time.Sleep(time.Minute)
		for _, l := range []*listener{later, bob} {
			if code, at := l.end(); at != 0 || code != 0 {
				t.Errorf("closed with %d after %v, want it to live", code, at)
			}
		}
	}, func(s *setup) {
		began = time.Now()
		s.auth = readable{began}
	})
}

// A fresh token is as old as it says: what was issued since a log-out lives on.
func TestRenewedSinceLogout(t *testing.T) {
	var began time.Time
	bubble(t, func(t *testing.T, n *node) {
		l := n.listen(t, "/ws/chat/lobby?user=alice,iat=0,exp=60", true)
		l.send(masked(fin|text, `{"id":1,"cmd":"auth","token":"alice,iat=20,exp=90"}`))
		synctest.Wait()
		n.LogOut("alice", began.Add(10*time.Second))
		synctest.Wait()
		if code, at := l.end(); code != 0 {
			t.Errorf("closed with %d after %v, want it to live", code, at)
		}
		n.LogOut("alice", began.Add(20*time.Second))
		synctest.Wait()
		if code, _ := l.end(); code != 4502 {
			t.Errorf("closed with %d, want 4502", code)
		}
	}, func(*setup) { began = time.Now() }, readableTokens)
}

// logouts stand for what the nodes have told each other: whose tokens are
// worthless, issued whenever.
type logouts struct {
	known   atomic.Bool
	revoked atomic.Value // of chat.UserID
}

func (l *logouts) Known() bool { return l.known.Load() }

func (l *logouts) Revoked(user chat.UserID, _ time.Time) bool { return l.revoked.Load() == user }

// Whoever has logged out does not come in, nor with a fresh token, and a node
// that does not know who has lets nobody in.
func TestLoggedOut(t *testing.T) {
	l := &logouts{}
	bubble(t, func(t *testing.T, n *node) {
		n.refused(t, "/ws/chat/lobby?user=alice,exp=60", http.StatusServiceUnavailable, "unavailable")
		if got := n.counted(t, "chatring_refused_total", "logouts"); got != 1 {
			t.Errorf("%v refusals counted, want 1", got)
		}
		l.known.Store(true)
		p := n.listen(t, "/ws/chat/lobby?user=alice,exp=60", true)
		l.revoked.Store(chat.UserID("alice"))
		n.refused(t, "/ws/chat/lobby?user=alice,exp=60", http.StatusUnauthorized, "unauthorized")
		n.listen(t, "/ws/chat/lobby?user=bob,exp=60", true)
		p.send(masked(fin|text, `{"id":1,"cmd":"auth","token":"alice,exp=90"}`))
		synctest.Wait()
		if p.heard(`{"id":1,"error":{"code":"bad_token","message":"not authenticated: the user has logged out`) != 1 {
			t.Error("a token from before the log-out renews the connection")
		}
	}, readableTokens, func(s *setup) { s.logouts = l })
}

// late logs its user out while the handshake goes on.
type late struct{ *logouts }

func (l late) Authenticate(c auth.Credentials) (auth.Identity, error) {
	return auth.Dev{}.Authenticate(c)
}

func (l late) Revoked(user chat.UserID, issued time.Time) bool {
	defer l.revoked.Store(user)
	return l.logouts.Revoked(user, issued)
}

// A log-out that comes between the check of a token and the socket's first
// moment closes the socket.
func TestLogoutDuringHandshake(t *testing.T) {
	l := late{&logouts{}}
	l.known.Store(true)
	n := serve(t, func(s *setup) { s.auth, s.logouts = l, l })
	p := n.upgraded(t, "/ws/chat/lobby?user=alice", "")
	p.closedWith(4502)
	eventually(t, "nobody to be left", func() bool { return n.counted(t, "chatring_connections", "") == 0 })
	n.refused(t, "/ws/chat/lobby?user=alice", http.StatusUnauthorized, "unauthorized")
}

// soon logs its users out after some looks at their tokens.
type soon struct{ looks atomic.Int32 }

func (*soon) Known() bool { return true }

func (l *soon) Revoked(chat.UserID, time.Time) bool { return l.looks.Add(-1) < 0 }

// A log-out that comes between the check of a fresh token and its first moment
// makes it worthless: the socket does not live on by it.
func TestLogoutDuringRenewal(t *testing.T) {
	l := &soon{}
	bubble(t, func(t *testing.T, n *node) {
		l.looks.Store(2) // for the handshake
		p := n.listen(t, "/ws/chat/lobby?user=alice,exp=60", true)
		l.looks.Store(1)
		p.send(masked(fin|text, `{"id":1,"cmd":"auth","token":"alice,exp=90"}`))
		synctest.Wait()
		if p.heard(`{"id":1,"error":{"code":"bad_token"`) != 1 {
			t.Error("a token from before the log-out renews the connection")
		}
		time.Sleep(time.Hour)
		if code, at := p.end(); code != 4501 || at != time.Minute {
			t.Errorf("closed with %d after %v, want 4501 after 1m", code, at)
		}
	}, readableTokens, func(s *setup) { s.logouts = l })
}

// absent is an authenticator that waits for its keys.
type absent struct{}

func (absent) Authenticate(auth.Credentials) (auth.Identity, error) {
	return auth.Identity{}, http.ErrHandlerTimeout // any error that is no refusal
}

// Where nobody can tell a good token from a bad one, the client may come back.
func TestTokensCannotBeChecked(t *testing.T) {
	n := serve(t, func(s *setup) { s.auth = absent{} })
	n.refused(t, "/ws/chat/lobby?user=alice", http.StatusServiceUnavailable, "unavailable")
}
