package gateway_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/protocol"
)

const announcement = `{"push":"announcement","from":"service:ops","ts":1,"data":"hi"}`

func announcing() protocol.Frame {
	return protocol.Announcement{From: "service:ops", TS: 1, Data: []byte(`"hi"`)}.Frame()
}

// Everybody hears an announcement once, a member, a watcher and somebody in another
// room: some at a time, at a pace that leaves the node its processor.
func TestAnnounce(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		const each = 250
		all := n.crowd(t, each, "/ws/chat/lobby", "/ws/chat/team", "/ws/watch/lobby")
		synctest.Wait()
		began := time.Now()
		if told := n.Announce(t.Context(), announcing()); told != 3*each {
			t.Errorf("told %d, want %d", told, 3*each)
		}
		if took, want := time.Since(began), 30*time.Millisecond; took != want { // 750 in groups of 200
			t.Errorf("it took %v, want %v", took, want)
		}
		synctest.Wait()
		for i, l := range all {
			if got := l.heard(announcement); got != 1 {
				t.Fatalf("socket %d has heard it %d times, want once", i, got)
			}
		}
	})
}

// A node that stops tells nobody any more.
func TestAnnounceEnds(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.crowd(t, 250, "/ws/chat/lobby")
		synctest.Wait()
		ended, end := context.WithCancel(t.Context())
		end()
		if told := n.Announce(ended, announcing()); told != 200 {
			t.Errorf("told %d, want the first 200", told)
		}
	})
}

// Disconnect closes every socket of a user, and nobody else's, whichever token they
// live by.
func TestDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		one, two := n.listen(t, "/ws/chat/lobby?user=alice", true), n.listen(t, "/ws/watch/team?user=alice", true)
		bob := n.listen(t, "/ws/chat/lobby?user=bob", true)
		n.Disconnect("alice", protocol.CloseReconnect)
		n.Disconnect("carol", protocol.CloseDismissed)
		synctest.Wait()
		for i, l := range []*listener{one, two} {
			if code, at := l.end(); code != 4410 || at != 0 {
				t.Errorf("socket %d closed with %d after %v, want 4410 at once", i, code, at)
			}
		}
		if code, _ := bob.end(); code != 0 {
			t.Errorf("bob's socket closed with %d", code)
		}
		back := n.listen(t, "/ws/chat/lobby?user=alice", true)
		n.Disconnect("alice", protocol.CloseDismissed)
		synctest.Wait()
		if code, _ := back.end(); code != 4510 {
			t.Errorf("closed with %d, want 4510", code)
		}
	})
}
