package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/gateway"
	"github.com/chatring/chatring/app/protocol"
)

// An audience is a stream whose client reads on and notes what it hears, and when.
type audience struct {
	*peer
	began time.Time

	// Guarded by mu.
	mu     sync.Mutex
	events []heardEvent
	gone   time.Duration // when the stream ended; zero while it lives
}

type heardEvent struct {
	event
	at time.Duration
}

// attend opens a stream in a bubble.
func (n *node) attend(t *testing.T, path, header string) *audience {
	t.Helper()
	a := &audience{peer: n.connect(t), began: time.Now()}
	_ = a.SetDeadline(time.Time{})
	a.send(fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: node\r\n%s\r\n", path, header))
	go func() {
		resp, err := http.ReadResponse(a.r, nil)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		h := &hearing{lines: bufio.NewReader(resp.Body)}
		for {
			e, err := h.next()
			a.mu.Lock()
			if err != nil {
				a.gone = time.Since(a.began)
				a.mu.Unlock()
				return
			}
			a.events = append(a.events, heardEvent{e, time.Since(a.began)})
			a.mu.Unlock()
			if e.name == "close" {
				_ = a.Close()
			}
		}
	}()
	synctest.Wait()
	return a
}

// end returns the code of the event close (0: none was heard) and when the stream ended.
func (a *audience) end() (code int, at time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.events) - 1; last >= 0 && a.events[last].name == "close" {
		_, digits, _ := strings.Cut(a.events[last].data, ":")
		digits, _, _ = strings.Cut(digits, ",")
		code, _ = strconv.Atoi(digits)
	}
	return code, a.gone
}

func (a *audience) heard(is func(heardEvent) bool) (all []heardEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if is(e) {
			all = append(all, e)
		}
	}
	return all
}

// A stream of which nothing is ever heard lives, and a comment comes at each ping.
func TestHeartbeats(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		a := n.attend(t, aliceStream, "")
		time.Sleep(time.Hour)
		synctest.Wait()
		if code, at := a.end(); at != 0 {
			t.Fatalf("closed with %d after %v", code, at)
		}
		if beats := len(a.heard(func(e heardEvent) bool { return e.comment })); beats < 3600/25 || beats > 3600/21 {
			t.Errorf("%d comments in an hour, want one every 21 to 25 s", beats)
		}
	})
}

// A stream whose client takes nothing is given up after the write timeout.
func TestStuckStream(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		stuck := n.connect(t)
		stuck.send([]byte("GET " + aliceStream + " HTTP/1.1\r\nHost: node\r\n\r\n"))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got := n.counted(t, "chatring_closed_total", "4008"); got != 1 {
			t.Errorf("%v closed with 4008, want 1", got)
		}
		if got := n.counted(t, "chatring_connections", "") + n.counted(t, "chatring_streams", ""); got != 0 {
			t.Errorf("%v are still counted", got)
		}
	})
}

// A stream ends with its token; a token that is shown meanwhile, by POST, is what the
// stream lives by and what its commands may show.
func TestStreamsToken(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		const path, first, second = "/sse/chat/lobby?stream=alice-0000000000", "Authorization: Bearer alice,iat=0,exp=60\r\n", "Authorization: Bearer alice,iat=1,exp=120\r\n"
		a := n.attend(t, path, first)
		time.Sleep(30 * time.Second)
		status, body := n.post(t, path, first, `{"id":1,"cmd":"auth","token":"alice,iat=1,exp=120"}`)
		if status != 200 || body != `{"id":1,"ok":{"expires_in_ms":90000}}`+"\n" {
			t.Fatalf("auth: %d %s", status, body)
		}
		time.Sleep(31 * time.Second)
		if code, at := a.end(); at != 0 {
			t.Fatalf("closed with %d after %v, want it to live by the second token", code, at)
		}
		for header, want := range map[string]int{first: 401, second: 200} {
			if status, body := n.post(t, path, header, `{"id":2,"cmd":"history","room":"lobby"}`); status != want {
				t.Errorf("POST with %q: %d %s, want %d", header, status, body, want)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if code, at := a.end(); code != 4501 || at != 2*time.Minute {
			t.Errorf("closed with %d after %v, want 4501 after 2m", code, at)
		}
	}, readableTokens)
}

// Who logs out loses streams as well as sockets.
func TestStreamLogOut(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		a, b := n.attend(t, aliceStream, ""), n.attend(t, bobStream, "")
		n.LogOut("alice", time.Now())
		synctest.Wait()
		if code, at := a.end(); code != 4502 || at != 0 {
			t.Errorf("closed with %d after %v, want 4502 at once", code, at)
		}
		if code, at := b.end(); code != 0 || at != 0 {
			t.Errorf("another user's is closed with %d after %v", code, at)
		}
	})
}

// A drain tells a browser when to come back, at a moment of the span that is as random as
// that of a client that reads the push, and closes with 1012.
func TestStreamDrain(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		var all []*audience
		for i := range 20 {
			all = append(all, n.attend(t, fmt.Sprintf("/sse/chat/lobby?user=u%d", i), ""))
		}
		n.Refuse()
		n.SendAway(context.Background(), gateway.Departure{Rate: 200, Within: time.Second})
		synctest.Wait()
		moments := make(map[string]bool)
		for _, a := range all {
			said := a.heard(func(e heardEvent) bool { return e.name == "drain" })
			if len(said) != 1 {
				t.Fatalf("%d drains are said, want 1", len(said))
			}
			ms, err := strconv.Atoi(said[0].retry)
			if err != nil || ms < 0 || ms > 100 || said[0].data != `{"push":"drain","reconnect_ms":[0,100]}` {
				t.Errorf("said %+v, want a time of the span", said[0])
			}
			moments[said[0].retry] = true
			if code, _ := a.end(); code != int(protocol.CloseDrain) {
				t.Errorf("closed with %d, want 1012", code)
			}
		}
		if got := n.counted(t, "chatring_closed_total", "1012"); got != 20 {
			t.Errorf("%v of 20 are counted as sent away", got)
		}
		if len(moments) < 5 {
			t.Errorf("20 clients come back at %d moments", len(moments))
		}
		if status, body := n.get(t, aliceStream, ""); status != 503 || !strings.Contains(body, `"unavailable"`) {
			t.Errorf("a stream at a node that drains: %d %s", status, body)
		}
	})
}

// What comes behind the request means nothing, and has a bound.
func TestStreamFlood(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		a := n.attend(t, aliceStream, "")
		a.send([]byte(strings.Repeat("x", 4000)))
		synctest.Wait()
		if code, at := a.end(); code != 0 || at != 0 {
			t.Fatalf("closed with %d after %v", code, at)
		}
		_, _ = a.Write([]byte(strings.Repeat("x", 200)))
		synctest.Wait()
		if code, _ := a.end(); code != 1008 {
			t.Errorf("closed with %d, want 1008", code)
		}
	})
}

// slowly is an application that takes its time with each message, or none at all.
type slowly struct {
	application
	let chan struct{} // a message goes on for each entry
}

func (s *slowly) AuthorizePublish(_ context.Context, d chat.Draft, _ string) ([]byte, error) {
	if string(d.Body) == `"panic"` {
		panic("the application's")
	}
	s.note(string(d.Body))
	<-s.let
	return d.Body, nil
}

// Commands of several POSTs are carried out one at a time, in the order in which the
// POSTs came; so many wait, and no more.
func TestStreamCommandsTakeTurns(t *testing.T) {
	app := &slowly{let: make(chan struct{})}
	n := serve(t, func(s *setup) { s.gateway.Session.Authorizer = app })
	h := n.hears(t, aliceStream, "")
	h.until("joined")
	body := func(i int) string {
		return fmt.Sprintf(`{"id":1,"cmd":"publish","room":"lobby","data":%d}
{"id":2,"cmd":"publish","room":"lobby","data":%d}`, 2*i, 2*i+1)
	}
	statuses := make(chan int, 21)
	post := func(i int) {
		status, _ := n.post(t, aliceStream, "", body(i))
		statuses <- status
	}
	go post(0)
	eventually(t, "the first command to be under way", func() bool { return slices.Contains(app.heard(), "0") })
	for i := range 20 {
		go post(i + 1)
	}
	for range 12 { // eight wait, and tell nothing before they have had their turn
		if status := <-statuses; status != http.StatusTooManyRequests {
			t.Errorf("a POST beyond those that may wait is answered with %d, want 429", status)
		}
	}
	close(app.let)
	for range 9 {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("a POST that has waited is answered with %d", status)
		}
	}
	var said []string
	for _, asked := range app.heard() {
		if !strings.HasPrefix(asked, "join") {
			said = append(said, asked)
		}
	}
	for i := 0; i+1 < len(said); i += 2 {
		first, _ := strconv.Atoi(said[i])
		second, _ := strconv.Atoi(said[i+1])
		if first%2 != 0 || second != first+1 {
			t.Errorf("commands of two POSTs are mixed: %v", said)
			break
		}
	}
	if len(said) != 18 {
		t.Errorf("%d commands were carried out, want 18", len(said))
	}
}

// A stream that ends amid a POST answers what was carried out, and nothing else.
func TestStreamEndsAmidCommands(t *testing.T) {
	n := serve(t, func(s *setup) { s.gateway.Session.Authorizer = &slowly{} })
	h := n.hears(t, aliceStream, "")
	h.until("joined")
	status, body := n.post(t, aliceStream, "", "no\nno\nno\n"+`{"id":4,"cmd":"history","room":"lobby"}`)
	if status != 200 || strings.Count(body, `"code":"bad_request"`) != 3 || strings.Contains(body, `"id":4`) {
		t.Errorf("answer %d %q, want three errors and nothing of the fourth", status, body)
	}
	if code := h.ends(); code != 1008 {
		t.Errorf("closed with %d, want 1008", code)
	}

	h = n.hears(t, bobStream, "")
	h.until("joined")
	status, body = n.post(t, bobStream, "", `{"id":1,"cmd":"publish","room":"lobby","data":"panic"}`)
	if status != 404 || !strings.Contains(body, "no_stream") {
		t.Errorf("a command at which the node panics: %d %s, want 404 no_stream", status, body)
	}
	if code := h.ends(); code != 1011 {
		t.Errorf("closed with %d, want 1011", code)
	}
}

// A stream is one of those that a user may have.
func TestStreamsPerUser(t *testing.T) {
	n := serve(t, func(s *setup) { s.gateway.SocketsPerUser = 2 })
	n.join(t, "/ws/chat/lobby?user=alice")
	h := n.hears(t, aliceStream, "")
	h.until("joined")
	if status, body := n.get(t, aliceStream, ""); status != 429 || !strings.Contains(body, `"too_many_sockets"`) {
		t.Errorf("a third: %d %s", status, body)
	}
	_ = h.Close()
	eventually(t, "its place to be free", func() bool {
		status, _ := n.get(t, "/sse/chat/lobby?user=alice&since=x", "")
		return status == 400 && n.counted(t, "chatring_streams", "") == 0
	})
	n.hears(t, aliceStream, "").until("joined")
}

// A watcher's stream says what is said, and nothing may be said by it. An inbox has a
// stream, too, at nodes that serve no chat.
func TestStreamDoors(t *testing.T) {
	n := serve(t)
	const watch, inbox = "/sse/watch/lobby?user=alice&stream=alice-0000000000", "/sse/inbox?user=alice&stream=alice-0000000001"
	h := n.hears(t, watch, "")
	h.until("joined")
	if _, body := n.post(t, watch, "", `{"id":1,"cmd":"publish","room":"lobby","data":1}`); !strings.Contains(body, `"code":"forbidden"`) {
		t.Errorf("a watcher publishes: %s", body)
	}
	n.join(t, "/ws/chat/lobby?user=bob").echoes("hi")
	if e := h.until("hi"); e.id == "" {
		t.Errorf("a watcher hears %+v, want an id", e)
	}
	if e := n.hears(t, inbox, "").until("joined"); e.id != "0-0" || !strings.Contains(e.data, `"room":"@alice"`) {
		t.Errorf("the inbox is joined as %+v", e)
	}

	only := serve(t, func(s *setup) { s.gateway.Session.InboxOnly = true })
	for path, want := range map[string]int{watch: 404, aliceStream: 404} {
		if status, _ := only.get(t, path, ""); status != want {
			t.Errorf("%s without chat: %d, want %d", path, status, want)
		}
	}
	only.hears(t, inbox, "").until("joined")
}

// A stream whose client stops reading in a loud room is closed; a client that goes on
// reads whole events, each once and in order, until then.
func TestSlowStream(t *testing.T) {
	const messages = 300
	n := serve(t, func(s *setup) { s.gateway.WriteTimeout = time.Hour })
	slow, halting := n.hears(t, aliceStream, ""), n.hears(t, bobStream, "")
	slow.until("joined")
	halting.until("joined")
	carol := n.join(t, "/ws/chat/lobby?user=carol")
	body := strings.Repeat("x", 15<<10)
	heard := 0
	for i := range messages {
		carol.echoes(fmt.Sprintf("%d %s", i, body))
		if i%10 == 9 { // in bursts
			for ; heard <= i; heard++ {
				e, err := halting.next()
				if err != nil || !strings.Contains(e.data, fmt.Sprintf(`"data":"%d x`, heard)) || !strings.HasSuffix(e.data, `x"}`) {
					t.Fatalf("heard %.120s…, %v; want message %d", e.data, err, heard)
				}
			}
		}
	}
	eventually(t, "the slow one to be cut off", func() bool { return n.counted(t, "chatring_slow_consumers_total", "") == 1 })
	for {
		e, err := slow.next()
		if err != nil {
			return
		}
		if e.name == "" && !strings.HasSuffix(e.data, `x"}`) {
			t.Fatalf("half a message: %.40s", e.data)
		}
	}
}
