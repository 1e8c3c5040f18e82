package clustertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// ask sends a service's request and returns the answer, which must be good.
func (c *Cluster) ask(method, address, path, body string) map[string]any {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+address+path+"?service=billing", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s %s at %s: %d %s %v", method, path, address, resp.StatusCode, b, err)
	}
	var answer map[string]any
	if err := json.Unmarshal(b, &answer); err != nil {
		c.t.Fatalf("%s: %v", b, err)
	}
	return answer
}

// has fails unless an answer has these fields.
func (c *Cluster) has(answer map[string]any, want string) {
	c.t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(want), &fields); err != nil {
		c.t.Fatal(err)
	}
	for name, value := range fields {
		if fmt.Sprint(answer[name]) != fmt.Sprint(value) {
			c.t.Errorf("%s is %v, want %v: %v", name, answer[name], value, answer)
		}
	}
}

// A service reaches rooms, users and everybody through HAProxy, and through any
// node, wherever they are: it is told how many heard it, and each hears it once.
func TestServices(t *testing.T) {
	c := Start(t, 2)
	room := c.RoomOn(1)
	alice := c.Dial(c.Front(), "/ws/chat/"+room+"?user=alice")
	phone, laptop, bob := c.Dial(c.Node(1), "/ws/inbox?user=alice"), c.Dial(c.Node(2), "/ws/inbox?user=alice"), c.Dial(c.Node(2), "/ws/inbox?user=bob")

	for i, address := range []string{c.Front(), c.Node(1), c.Node(2)} {
		key := fmt.Sprintf("k%d", i)
		c.has(c.ask("POST", address, "/api/rooms/"+room+"/messages", `{"key":"`+key+`","data":1}`), `{"sessions":1,"nodes":1}`)
		if got := alice.Message(key); got.From != "service:billing" {
			t.Errorf("%s is from %s", key, got.From)
		}
	}
	c.has(c.ask("POST", c.Node(2), "/api/rooms/"+room+"/messages", `{"key":"k0","data":1}`), `{"key":"k0","sessions":1}`)
	for i, address := range []string{c.Front(), c.Node(1), c.Node(2)} {
		key := fmt.Sprintf("n%d", i)
		c.has(c.ask("POST", address, "/api/notifications", `{"users":["alice","bob","carol"],"key":"`+key+`","data":1}`),
			`{"sent":3,"online":2,"sessions":3,"nodes":2}`)
		for _, cl := range []*Client{phone, laptop, bob} {
			cl.Message(key)
		}
	}
	c.has(c.ask("GET", c.Node(1), "/api/users/alice", ""), `{"online":true,"sessions":2,"shards":["1111","2222"]}`)
	c.has(c.ask("GET", c.Node(2), "/api/rooms/"+room, ""), `{"users":1,"members":1,"shards":["1111"],"complete":true}`)

	all := []*Client{alice, phone, laptop, bob}
	for _, said := range []struct{ address, key string }{{c.Node(1), "a1"}, {c.Node(2), "a1"}, {c.Node(2), "a2"}} { // a1 twice
		c.ask("POST", said.address, "/api/announcements", `{"key":"`+said.key+`","data":"`+said.key+`"}`)
	}
	for _, cl := range all {
		var heard []string
		for len(heard) < 2 {
			heard = append(heard, string(cl.Wait("an announcement", func(f Frame) bool { return f.Push == "announcement" }).Data))
		}
		if !slices.Equal(heard, []string{`"a1"`, `"a2"`}) {
			t.Errorf("heard %v, want a1 and a2 once each", heard)
		}
	}

	c.ask("POST", c.Node(2), "/api/users/alice/disconnect", `{"reconnect":true}`)
	for _, cl := range []*Client{alice, phone, laptop} {
		if code := cl.Code(); code != 4410 {
			t.Errorf("closed with %d, want 4410", code)
		}
	}
	bob.Send(`{"id":1,"cmd":"presence","room":"@bob"}`)
	if f := bob.Reply(1); f.Error != nil {
		t.Errorf("bob hears %+v", f.Error)
	}
	eventually(t, "alice is offline", func() bool { return c.ask("GET", c.Front(), "/api/users/alice", "")["online"] == false })
	c.noRaces()
}

// A service notifies a thousand users, of whom two hundred are online, on two nodes
// of three, and one of those dies: each of those who are left hears it once, the third
// node is asked and told nothing, and what nobody heard waits.
func TestNotifyAThousand(t *testing.T) {
	c := Start(t, 3)
	var users []string
	var online []*Client
	for i := range 1000 {
		user := fmt.Sprintf("user-%d", i)
		users = append(users, `"`+user+`"`)
		if i < 200 {
			online = append(online, c.Dial(c.Node(1+i%2), "/ws/inbox?user="+user))
		}
	}
	body := func(key string) string {
		return `{"key":"` + key + `","data":{"text":"sale"},"users":[` + strings.Join(users, ",") + `]}`
	}
	heard, batches := c.Metric(3, "chatring_bridge_heard_total"), c.Metric(1, "chatring_append_batches_total")
	c.has(c.ask("POST", c.Node(1), "/api/notifications", body("one")), `{"messages":1000,"sent":1000,"failed":0,"online":200,"sessions":200,"nodes":2}`)
	for _, cl := range online {
		if f := cl.Message("one"); f.From != "service:billing" || string(f.Data) != `{"type":"notification","data":{"text":"sale"}}` {
			t.Fatalf("heard %+v", f)
		}
	}
	if got := c.Metric(3, "chatring_bridge_heard_total") - heard; got != 0 {
		t.Errorf("node 3 has heard %v messages of the bridge, and none of these users is there", got)
	}
	if got := c.Metric(1, "chatring_append_batches_total") - batches; got > 500 {
		t.Errorf("%v round trips for 1,000 notifications: they share none", got)
	}
	c.Signal("ws2", syscall.SIGKILL)
	eventually(t, "the dead node's users are offline", func() bool {
		return c.ask("GET", c.Node(3), "/api/users/user-1", "")["online"] == false
	})
	c.has(c.ask("POST", c.Node(1), "/api/notifications", body("two")), `{"sent":1000,"failed":0,"online":100,"sessions":100,"nodes":1}`)
	late := c.Dial(c.Node(3), "/ws/inbox?user=user-1")
	late.Send(`{"id":1,"cmd":"history","room":"@user-1"}`)
	var page struct{ Messages []Frame }
	if err := json.Unmarshal(late.Reply(1).OK, &page); err != nil || len(page.Messages) != 2 || page.Messages[0].Key != "one" || page.Messages[1].Key != "two" {
		t.Errorf("in the inbox waits %+v, %v, want both", page, err)
	}
	for i, cl := range online {
		if i%2 == 0 {
			cl.Message("two")
		}
	}
	c.noRaces()
}
