package clustertest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// An application allows what it is asked, and notes what it is told, while it is up.
type application struct {
	t       *testing.T
	address string
	server  *http.Server

	mu    sync.Mutex
	hangs chan struct{} // nil: it answers
	told  map[string][]string
}

func newApplication(t *testing.T) *application {
	a := &application{t: t, address: "127.0.0.1:0", told: map[string][]string{}}
	a.start()
	t.Cleanup(func() {
		a.hang(false)
		_ = a.server.Close()
	})
	return a
}

func (a *application) start() {
	a.t.Helper()
	ln, err := net.Listen("tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	a.address = ln.Addr().String()
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = a.server.Serve(ln) }()
}

// hang makes it keep its answers to itself, or not any more.
func (a *application) hang(yes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hangs != nil {
		close(a.hangs)
		a.hangs = nil
	}
	if yes {
		a.hangs = make(chan struct{})
	}
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	hangs := a.hangs
	a.mu.Unlock()
	if hangs != nil {
		<-hangs
		return
	}
	if r.URL.Path == "/asked" {
		_, _ = w.Write([]byte(`{"allow":true}`))
		return
	}
	var event struct {
		Type string
		Data struct{ Room, Key, User string }
	}
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		a.t.Error(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	about := event.Type + " " + event.Data.Room + event.Data.User
	a.told[about] = append(a.told[about], event.Data.Key)
}

// heard is what it was told of somebody, or something: keys, each once.
func (a *application) heard(about string) (keys []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, key := range a.told[about] {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// An application that hangs, and then dies, while eight users talk on two nodes holds
// nobody for longer than its time: publishes are answered as the setting says, first
// after that time and then at once, and when it is back they go through. It is told of
// every message that was acknowledged, in the order of its room, though the node dies
// that delivers; and of the users who were on that node.
func TestHooksDieUnderLoad(t *testing.T) {
	app := newApplication(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Start(t, 2,
		"CHATRING_HOOKS_SECRET_FILE="+secret,
		"CHATRING_HOOKS_PUBLISH_URL=http://"+app.address+"/asked",
		"CHATRING_HOOKS_WEBHOOK_URL=http://"+app.address+"/told",
		"CHATRING_HOOKS_EVENTS=message_published,user_online,user_offline,room_occupied",
		"CHATRING_HOOKS_TIMEOUT=500ms")

	var clients []*Client
	room := func(n int) string { return c.RoomOn(1 + n%2) }
	said := map[string][]string{} // keys acknowledged, by room
	for n := range 8 {
		clients = append(clients, c.Dial(c.Node(1+n%2), fmt.Sprintf("/ws/chat/%s?user=user-%d&inbox=true&echo=false", room(n), n)))
	}
	for n := range 8 {
		eventually(t, "the application knows who is there", func() bool { return len(app.heard(fmt.Sprintf("user_online user-%d", n))) == 1 })
	}
	id := 0
	// round has everybody publish once, and returns how many were told no, and how long the last one waited.
	round := func() (refused int, took time.Duration) {
		id++
		begun := time.Now()
		for n, cl := range clients {
			cl.Send(`{"id":%d,"cmd":"publish","room":"%s","key":"k%d-%d","data":%d}`, id, room(n), n, id, id)
		}
		for n, cl := range clients {
			switch f := cl.Reply(id); {
			case f.Error == nil:
				said[room(n)] = append(said[room(n)], fmt.Sprintf("k%d-%d", n, id))
			case f.Error.Code != "unavailable" || !f.Error.Temporary || f.Error.Message != "the application does not answer: try again":
				t.Errorf("answered %+v", *f.Error)
			default:
				refused++
			}
		}
		return refused, time.Since(begun)
	}
	const slow = 3 * time.Second // that a race detector on a busy machine may add to anything
	for range 10 {
		if refused, _ := round(); refused > 0 {
			t.Errorf("%d publishes refused while the application answers", refused)
		}
	}
	app.hang(true)
	open := func(want float64) bool {
		return c.Metric(1, `chatring_hook_breaker{hook="publish"}`) == want && c.Metric(2, `chatring_hook_breaker{hook="publish"}`) == want
	}
	rounds := 0
	for ; rounds < 10 && !open(2); rounds++ {
		if refused, took := round(); refused != 8 || took > 500*time.Millisecond+slow {
			t.Errorf("%d refused after %v while the application hangs, want all after half a second", refused, took)
		}
	}
	if !open(2) {
		t.Errorf("the breakers are not open after %d rounds", rounds)
	}
	_ = app.server.Close()
	app.hang(false)
	if refused, took := round(); refused != 8 || took > slow {
		t.Errorf("%d refused after %v while the breakers are open, want all at once", refused, took)
	}
	app.start()
	eventually(t, "publishes go through again", func() bool {
		refused, _ := round()
		return refused == 0
	})
	if !open(0) {
		t.Error("the breakers are not closed")
	}

	// The node that delivers dies with its users.
	delivers := 1
	if c.Metric(2, `chatring_queue_reading{queue="webhooks"}`) == 1 {
		delivers = 2
	}
	round()
	c.Signal(fmt.Sprintf("ws%d", delivers), syscall.SIGKILL)
	for n := range 8 {
		want := 0
		if 1+n%2 == delivers {
			want = 1
		}
		eventually(t, "the application knows who has gone", func() bool { return len(app.heard(fmt.Sprintf("user_offline user-%d", n))) == want })
	}
	for name, keys := range said {
		var got []string
		eventually(t, "the application knows all that was said in "+name, func() bool {
			got = app.heard("message_published " + name)
			return len(got) >= len(keys)
		})
		// Of those who talk at once nobody knows who is first: each one's own are in order.
		for n := range 8 {
			var own, told []string
			for _, key := range keys {
				if key[:3] == fmt.Sprintf("k%d-", n) {
					own = append(own, key)
				}
			}
			for _, key := range got {
				if key[:3] == fmt.Sprintf("k%d-", n) {
					told = append(told, key)
				}
			}
			if !slices.Equal(own, told) {
				t.Errorf("of what user-%d said in %s the application was told %v, want %v", n, name, told, own)
			}
		}
	}
	if n := c.Redis("XLEN", "chatring:webhooks:dead"); n != "0\n" {
		t.Errorf("%s events were set aside", n)
	}
	c.noRaces()
}
