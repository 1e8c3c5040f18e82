package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/session"
)

// refused sees to it that a handshake is answered with a status and a code, and
// returns the answer.
func (n *node) refused(t *testing.T, path string, status int, code string) *http.Response {
	t.Helper()
	resp, body := n.connect(t).request(request(path, nil))
	var answer struct {
		Error struct{ Code, Message string } `json:"error"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != status || answer.Error.Code != code || answer.Error.Message == "" {
		t.Errorf("%s: %d %s, want %d with code %s and a message", path, resp.StatusCode, body, status, code)
	}
	if status == 429 || status == 503 {
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || s < 1 {
			t.Errorf("%s: Retry-After %q, want seconds", path, resp.Header.Get("Retry-After"))
		}
	}
	return resp
}

// A user has no more sockets than one may, whatever the room; others do not
// notice, and a socket that goes makes place for another. Requests that become
// no socket take none.
func TestSocketsPerUser(t *testing.T) {
	n := serve(t, func(s *setup) { s.gateway.SocketsPerUser = 3 })
	for range 5 {
		n.connect(t).request(request("/ws/chat/lobby?user=alice", []string{"Upgrade"}))
	}
	first := n.upgraded(t, "/ws/chat/lobby?user=alice", "")
	n.upgraded(t, "/ws/chat/team?user=alice", "")
	n.upgraded(t, "/ws/watch/lobby?user=alice", "")
	n.refused(t, "/ws/chat/lobby?user=alice", 429, "too_many_sockets")
	n.join(t, "/ws/chat/lobby?user=bob").echoes("served")
	_ = first.Close()
	eventually(t, "alice's first socket to go", func() bool { return n.counted(t, "chatring_connections", "") == 3 })
	n.join(t, "/ws/chat/lobby?user=alice").echoes("served")
	n.refused(t, "/ws/chat/lobby?user=alice", 429, "too_many_sockets")
}

// counting counts how often somebody is asked who they are.
type counting struct{ asked *int }

func (a counting) Authenticate(c auth.Credentials) (auth.Identity, error) {
	*a.asked++
	return auth.Dev{}.Authenticate(c)
}

// More requests than the node looks at are refused before anything dear is done
// for them, and counted; in time there is place again, as much as is said.
func TestHandshakes(t *testing.T) {
	asked := 0
	bubble(t, func(t *testing.T, n *node) {
		for range 3 {
			n.listen(t, "/ws/chat/lobby?user=alice", true)
		}
		for range 20 {
			n.refused(t, "/ws/chat/lobby?user=alice", 503, "unavailable")
		}
		if asked != 3 {
			t.Errorf("%d tokens were checked, want 3", asked)
		}
		if got := n.counted(t, "chatring_refused_total", "handshakes"); got != 20 {
			t.Errorf("%v refusals counted, want 20", got)
		}
		time.Sleep(99 * time.Millisecond)
		n.refused(t, "/ws/chat/lobby?user=alice", 503, "unavailable")
		time.Sleep(time.Millisecond)
		n.listen(t, "/ws/chat/lobby?user=alice", true)
		n.refused(t, "/ws/chat/lobby?user=alice", 503, "unavailable")
		time.Sleep(time.Second)
		for range 3 {
			n.listen(t, "/ws/chat/lobby?user=alice", true)
		}
		n.refused(t, "/ws/chat/lobby?user=alice", 503, "unavailable")
	}, func(s *setup) {
		s.auth = counting{&asked}
		s.gateway.Handshakes, s.gateway.HandshakeBurst = 10, 3
	})
}

// Strangers who send commands or want tickets keep nobody from connecting, and what they
// cost has a bound as well.
func TestStrangersPosts(t *testing.T) {
	asked := 0
	n := serve(t, withTickets, func(s *setup) {
		s.auth = counting{&asked}
		s.gateway.Handshakes, s.gateway.HandshakeBurst = 1, 3
	})
	statuses := make(map[int]int)
	for range 4 {
		for _, path := range []string{"/sse/chat/lobby?stream=stranger-0000000", "/sse/ticket?user=%20"} {
			status, _ := n.post(t, path, "", "")
			statuses[status]++
		}
	}
	if statuses[401] != asked || statuses[401]+statuses[503] != 8 || asked > 5 {
		t.Errorf("%d tokens of strangers were checked, answers %v; want few, and 503 for the rest", asked, statuses)
	}
	n.hears(t, aliceStream, "").until("joined")
}

// The rooms of all of a user's sockets are counted together: who is in too many
// joins no further one, until one of the sockets leaves one or is gone.
func TestUserRooms(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		one, two := n.listen(t, "/ws/chat/r1?user=alice,exp=60", true), n.listen(t, "/ws/chat/r2?user=alice,exp=60", true)
		bob := n.listen(t, "/ws/chat/r1?user=bob,exp=60", true)
		id := 0
		do := func(l *listener, command, answer string) {
			t.Helper()
			id++
			l.send(masked(fin|text, fmt.Sprintf(`{"id":%d,%s}`, id, command)))
			synctest.Wait()
			if l.heard(fmt.Sprintf(`{"id":%d,%s`, id, answer)) != 1 {
				t.Errorf("%s is not answered with %s", command, answer)
			}
		}
		const ok, full = `"ok":`, `"error":{"code":"too_many_rooms","message":"leave a room first, by this connection or another of yours"}}`
		do(one, `"cmd":"join","room":"r3"`, ok)
		do(one, `"cmd":"join","room":"r4"`, full)
		do(two, `"cmd":"join","room":"r4"`, full)
		do(bob, `"cmd":"join","room":"r4"`, ok)
		do(one, `"cmd":"leave","room":"r3"`, ok)
		do(two, `"cmd":"join","room":"r4"`, ok)
		do(one, `"cmd":"join","room":"r3"`, full)
		do(two, `"cmd":"auth","token":"alice,exp=90,r2=3"`, ok) // r4 is left
		do(one, `"cmd":"join","room":"r3"`, ok)
		_ = two.Close()
		synctest.Wait()
		do(one, `"cmd":"join","room":"r4"`, ok)
		do(one, `"cmd":"join","room":"r5"`, full)
	}, readableTokens, func(s *setup) { s.gateway.Session.UserRooms = 3 })
}

// What is refused costs a user nothing, on however many sockets at once.
func TestRefusalsAtOnceCostNothing(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		var all []*listener
		for range 20 {
			all = append(all, n.listen(t, "/ws/chat/lobby?user=alice", true))
		}
		var senders sync.WaitGroup
		for _, l := range all {
			senders.Go(func() {
				for range 500 {
					l.send(masked(fin|text, `{"id":1,"cmd":"presence","room":"lobby"}`))
				}
			})
		}
		senders.Wait()
		synctest.Wait()
		all[0].send(masked(fin|text, `{"id":2,"cmd":"presence","room":"lobby"}`))
		synctest.Wait()
		if all[0].heard(`{"id":2,"error":{"code":"rate_limited","message":"more than may be sent: wait, and send it again","temporary":true,"retry_after_ms":100}}`) != 1 {
			t.Error("alice has to wait for longer than for one command")
		}
	}, func(s *setup) {
		s.gateway.UserRates = session.Rates{Messages: 10, Burst: 2 * time.Second}
	})
}

// All sockets of a user share what a user may send; others have their own. To
// come back at once does not begin it anew, and in time it is forgotten.
func TestUserRates(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		id := 0
		limited := func(l *listener) bool {
			t.Helper()
			id++
			l.send(masked(fin|text, fmt.Sprintf(`{"id":%d,"cmd":"presence","room":"lobby"}`, id)))
			synctest.Wait()
			if l.heard(fmt.Sprintf(`{"id":%d,"ok"`, id)) == 1 {
				return false
			}
			if l.heard(fmt.Sprintf(`{"id":%d,"error":{"code":"rate_limited","message":"more than may be sent: wait, and send it again","temporary":true,"retry_after_ms":100}}`, id)) != 1 {
				t.Fatalf("command %d is not answered as expected", id)
			}
			return true
		}
		one, two := n.listen(t, "/ws/chat/lobby?user=alice", true), n.listen(t, "/ws/chat/lobby?user=alice", true)
		bob := n.listen(t, "/ws/chat/lobby?user=bob", true)
		for i := range 20 {
			if limited([]*listener{one, two}[i%2]) {
				t.Fatalf("command %d is refused", i)
			}
		}
		if !limited(one) || !limited(two) {
			t.Error("alice may send more than a user may")
		}
		if limited(bob) {
			t.Error("bob is limited by what alice sends")
		}
		if got := n.counted(t, "chatring_rate_limited_total", "user_messages"); got != 2 {
			t.Errorf("%v counted, want 2", got)
		}
		_, _ = one.Close(), two.Close()
		synctest.Wait()
		again := n.listen(t, "/ws/chat/lobby?user=alice", true)
		if !limited(again) {
			t.Error("a fresh connection makes alice's allowance a fresh one")
		}
		for range 2 { // gone for a second each time, though two have passed since the first
			time.Sleep(time.Second)
			for range 10 {
				if limited(again) {
					t.Fatal("alice may not send what a user may")
				}
			}
			if !limited(again) {
				t.Error("alice may send more than a user may")
			}
			_ = again.Close()
			time.Sleep(time.Second)
			synctest.Wait()
			again = n.listen(t, "/ws/chat/lobby?user=alice", true)
			for range 10 {
				if limited(again) {
					t.Fatal("alice may not send what a user may")
				}
			}
			if !limited(again) {
				t.Error("alice may send more than a user may, because it was gone for a moment")
			}
		}
	}, func(s *setup) {
		s.gateway.UserRates = session.Rates{Messages: 10, Burst: 2 * time.Second}
	})
}
