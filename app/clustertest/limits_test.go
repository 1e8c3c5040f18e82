package clustertest

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"testing"
	"time"
)

// visit sends a request with further headers and returns the answer, read.
func (d *door) visit(t *testing.T, path string, header http.Header) (resp *http.Response, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// A crush is a door before a node that keeps whoever says so waiting.
type crush struct {
	*door
	t       *testing.T
	held    chan struct{} // one for each that the node keeps
	release chan struct{} // closed to let them go
}

func openCrush(t *testing.T, vars ...string) *crush {
	t.Helper()
	c := &crush{t: t, held: make(chan struct{}, 1000), release: make(chan struct{})}
	node := behindDoor(t, "ws2", func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Hold") != "" {
			c.held <- struct{}{}
			<-c.release
		}
	})
	t.Cleanup(c.letGo) // before the node ends
	c.door = openDoor(t, append(vars, "WS1_ADDR="+node)...)
	return c
}

// hold has the node keep n requests.
func (c *crush) hold(n int, path string, header http.Header) {
	c.t.Helper()
	for range n {
		go func() {
			req, err := http.NewRequest(http.MethodGet, "http://"+c.address+path, nil)
			if err != nil {
				return
			}
			maps.Copy(req.Header, header)
			req.Header.Set("Hold", "yes")
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}()
	}
	for range n {
		select {
		case <-c.held:
		case <-time.After(patience):
			c.t.Fatalf("%s: %d requests do not all reach the node", path, n)
		}
	}
}

// letGo ends what is held.
func (c *crush) letGo() {
	select {
	case <-c.release:
	default:
		close(c.release)
	}
}

// asks sends a request and compares the status.
func (c *crush) asks(path string, header http.Header, want int) *http.Response {
	c.t.Helper()
	resp, body := c.visit(c.t, path, header)
	if resp.StatusCode != want {
		c.t.Errorf("%s: %s %s, want %d", path, resp.Status, body, want)
	}
	if want >= 429 && resp.Header.Get("Retry-After") == "" {
		c.t.Errorf("%s: %s without Retry-After", path, resp.Status)
	}
	return resp
}

// As many sockets as fit leave the API and the page their places, and as many
// requests for the API as fit leave the sockets and the page theirs.
func TestFloodsStayApart(t *testing.T) {
	const limit = 5
	limits := []string{fmt.Sprint("SOCKETS_MAX=", limit), fmt.Sprint("API_MAX=", limit)}
	t.Run("sockets", func(t *testing.T) {
		c := openCrush(t, limits...)
		c.hold(2, "/ws/chat/lobby", upgrade())
		c.hold(2, "/ws/watch/lobby", upgrade())
		c.asks("/ws/inbox", upgrade(), 200)
		c.hold(1, "/ws/friends", upgrade())
		for _, path := range []string{"/ws/chat/lobby", "/ws/watch/lobby", "/ws/friends", "/ws/inbox"} {
			c.asks(path, upgrade(), 503)
		}
		for _, path := range []string{"/api/users/alice", "/api/rooms/lobby", "/", "/shard/lobby"} {
			c.asks(path, nil, 200)
		}
	})
	t.Run("the API", func(t *testing.T) {
		c := openCrush(t, limits...)
		c.hold(3, "/api/users/alice", nil)
		c.hold(2, "/api/rooms/lobby", nil)
		for _, path := range []string{"/api/users/alice", "/api/rooms/lobby"} {
			if resp := c.asks(path, nil, 503); !resp.Close {
				t.Errorf("%s: who is refused keeps the connection", path)
			}
		}
		for _, path := range []string{"/ws/chat/lobby", "/ws/watch/lobby", "/ws/friends", "/ws/inbox"} {
			c.asks(path, upgrade(), 200)
		}
		c.asks("/", nil, 200)
	})
}

// A node works at so many requests for the API at once. Further ones wait for a
// moment and are told to come back; rooms, and sockets, have places of their own.
func TestPlacesOfANode(t *testing.T) {
	c := openCrush(t, "API_MAXCONN=2")
	c.hold(2, "/api/users/alice", nil)
	c.asks("/api/users/alice", nil, 503)
	c.asks("/api/rooms/lobby", nil, 200)
	c.hold(2, "/api/rooms/lobby", nil)
	c.asks("/api/rooms/lobby", nil, 503)
	c.asks("/ws/chat/lobby", upgrade(), 200)
	c.asks("/ws/friends", upgrade(), 200)
	c.asks("/", nil, 200)
}

// The API's requests of an address are counted for themselves, in a time and at
// once.
func TestAPIPerAddress(t *testing.T) {
	const limit = 3
	for _, test := range []struct{ name, much, other string }{
		{"API_RATE_PER_IP", "/api/users/alice", "/"},
		{"WEB_RATE_PER_IP", "/", "/api/users/alice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := openCrush(t, fmt.Sprintf("%s=%d", test.name, limit))
			for range limit {
				c.asks(test.much, nil, 200)
			}
			c.asks(test.much, nil, 429)
			c.asks(test.other, nil, 200)
			c.asks("/ws/chat/lobby", upgrade(), 200)
		})
	}
	t.Run("API_CONN_PER_IP", func(t *testing.T) {
		c := openCrush(t, fmt.Sprint("API_CONN_PER_IP=", limit))
		c.hold(limit, "/api/users/alice", nil)
		c.asks("/api/users/alice", nil, 429)
		c.asks("/", nil, 200)
	})
}

// What is asked of a room goes to its home, whatever the address; what is asked
// of friends to their own nodes, if there are some.
func TestModulesHaveNodes(t *testing.T) {
	node := func(name string) string {
		return behindDoor(t, name, func(http.ResponseWriter, *http.Request) {})
	}
	vars := []string{"WS2_ADDR=" + node("ws2"), "WS3_ADDR=" + node("ws3")}
	d := openDoor(t, vars...)
	asked := func(path string) string {
		resp, body := d.visit(t, path, nil)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
		return body
	}
	for i := range 30 {
		room := fmt.Sprint("room-", i)
		if i%3 == 0 {
			room = fmt.Sprintf("@a+u=7C%d", i)
		}
		home := asked("/shard/" + room)
		for _, path := range []string{"/ws/chat/" + room, "/api/rooms/" + room, "/api/rooms/" + room + "/messages?limit=1"} {
			if got := asked(path); got != home {
				t.Errorf("%s goes to %s, and its home is %s", path, got, home)
			}
		}
	}
	for _, path := range []string{"/api/users/alice", "/ws/friends", "/ws/inbox", "/ws/watch/lobby"} {
		seen := map[string]bool{}
		for range 3 {
			seen[asked(path)] = true
		}
		if len(seen) != 3 {
			t.Errorf("%s goes to %v, want all nodes in turn", path, seen)
		}
	}
	d = openDoor(t, append(vars, "FRIENDS1_ADDR="+node("friends1"))...)
	for path, own := range map[string]bool{"/ws/friends": true, "/ws/inbox": true, "/api/users/alice": false, "/ws/chat/lobby": false} {
		if got := asked(path); (got == "friends1") != own {
			t.Errorf("%s goes to %s", path, got)
		}
	}
}
