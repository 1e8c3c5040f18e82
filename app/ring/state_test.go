package ring_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/ring"
)

// A world is the nodes and HAProxy, by their hosts, as a node can ask them. Who is
// missing refuses connections.
type world struct {
	t     *testing.T
	asker *ring.Asker

	mu    sync.Mutex
	hosts map[string]http.Handler
	asked map[string]int
}

// newWorld has the nodes 1111 to 4444 and HAProxy, all of them well; node 1111 looks.
func newWorld(t *testing.T) *world {
	w := &world{t: t, hosts: map[string]http.Handler{}, asked: map[string]int{}}
	var addresses []string
	for i := 1; i <= 4; i++ {
		appid, host := strings.Repeat(fmt.Sprint(i), 4), fmt.Sprint("node", i)
		addresses = append(addresses, "http://"+host)
		w.serve(host, ring.NewAsker(self(appid), ring.Peers{}).Handler(http.NotFoundHandler()))
	}
	w.serve("haproxy", servers("UP", "UP", "UP", "UP"))
	w.asker = ring.NewAsker(self("1111"), ring.Peers{Nodes: addresses, HAProxy: "http://haproxy", Door: "http://door", Transport: w})
	return w
}

// self is a node that is at peace, and serves the rooms that are named after it.
func self(appid string) *ring.Self {
	return ring.NewSelf(ring.Options{
		AppID: appid, Version: "test", Modules: []string{"chat"},
		Figures:  func() metrics.Figures { return metrics.Figures{} },
		Draining: func() bool { return false },
		Room: func(room chat.RoomID) (ring.Local, bool) {
			return ring.Local{Members: 3, Watchers: 1}, strings.Contains(string(room), appid)
		},
	})
}

// serve says who answers at a host; nil: nobody.
func (w *world) serve(host string, h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hosts[host] = h; h == nil {
		delete(w.hosts, host)
	}
}

// RoundTrip implements http.RoundTripper.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	h := w.hosts[r.URL.Host]
	w.asked[r.URL.Host]++
	w.mu.Unlock()
	if h == nil {
		return nil, syscall.ECONNREFUSED
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return answer.Result(), nil
}

// servers is HAProxy with its servers' states.
func servers(states ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stats;csv" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "# pxname,svname,status,weight,lastchg,sid,type\n")
		for i, state := range states {
			_, _ = fmt.Fprintf(w, "be_chat,ws%d,%s,100,7,%s,2\n", i+1, state, strings.Repeat(fmt.Sprint(i+1), 4))
		}
	}
}

// later looks when the last look is not fresh any more.
func (w *world) later() *ring.State {
	w.t.Helper()
	time.Sleep(time.Second)
	state, err := w.asker.State(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return state
}

// news are the events since the last look that are not those of the beginning, oldest first.
func news(s *ring.State) (news []string) {
	for _, e := range slices.Backward(s.Events) {
		if e.Kind != ring.Started && e.Kind != ring.OnRing {
			news = append(news, strings.TrimSpace(e.Node+" "+e.Text))
		}
	}
	return news
}

// All nodes are seen, with the parts of the ring that they have.
func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t).later()
		sum := 0.0
		for i, n := range s.Nodes {
			appid := strings.Repeat(fmt.Sprint(i+1), 4)
			if n.AppID != appid || !n.Answers || !n.On || n.Node == nil || n.Node.AppID != appid || n.Node.Events != nil || n.Server == nil || n.Server.AppID != appid || n.Share != n.Full {
				t.Errorf("node %d = %+v", i, n)
			}
			sum += n.Share
		}
		if len(s.Nodes) != 4 || math.Abs(sum-1) > 1e-9 || s.By != "1111" || s.Alone || !s.HAProxy.Answers || s.Ring.Assumed {
			t.Errorf("state = %+v", s)
		}
		if len(s.Ring.Now) != 720 || s.Ring.Now != s.Ring.Full || strings.Trim(s.Ring.Now, "0123") != "" || !slices.Equal(s.Ring.IDs, []string{"1111", "2222", "3333", "4444"}) {
			t.Errorf("ring = %+v", s.Ring)
		}
		if len(s.Events) != 8 || len(news(s)) != 0 {
			t.Errorf("events = %+v, want four starts and four places on the ring", s.Events)
		}
	})
}

// A node that dies is seen to be dead at the next look, with what it said last; its part
// of the ring is the others'. When it is back, so is its part.
func TestNodeDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.later()
		alive := w.hosts["node2"]
		w.serve("node2", nil)
		w.serve("haproxy", servers("UP", "DOWN", "NOLB", "UP"))
		began := time.Now()
		s := w.later()
		dead := s.Nodes[1]
		if dead.Answers || dead.On || dead.Share != 0 || dead.Full < 0.2 || dead.Problem != "nobody listens there" || dead.Node == nil {
			t.Errorf("the dead node = %+v", dead)
		}
		if dead.Since < began.UnixMilli() || dead.Since > time.Now().UnixMilli() {
			t.Errorf("it is dead since %d, and died at %d", dead.Since, began.UnixMilli())
		}
		if strings.Contains(s.Ring.Now, "1") || !strings.Contains(s.Ring.Full, "1") {
			t.Errorf("ring = %+v", s.Ring)
		}
		since := dead.Since
		s = w.later()
		if s.Nodes[1].Since != since || s.Nodes[1].Node == nil {
			t.Errorf("a second later the dead node = %+v", s.Nodes[1])
		}
		w.serve("node2", alive)
		w.serve("haproxy", servers("UP", "UP", "NOLB", "UP"))
		if s = w.later(); !s.Nodes[1].Answers || !s.Nodes[1].On || s.Nodes[2].On {
			t.Errorf("nodes = %+v", s.Nodes)
		}
		want := []string{"2222 is off the ring: HAProxy finds it down", "3333 is off the ring: it drains", "2222 does not answer: nobody listens there", "2222 answers again"}
		if got := news(s); !slices.Equal(got, want) {
			t.Errorf("news = %q, want %q", got, want)
		}
	})
}

// The history of a node that is dead by now is what it has told while somebody looked.
func TestHistories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		at := int64(1)
		w.serve("node2", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ring/node/history" {
				_, _ = io.WriteString(w, `{"appid":"2222","samples":[{"at":1},{"at":2}]}`)
				return
			}
			_ = json.NewEncoder(w).Encode(ring.Node{AppID: "2222", Sample: ring.Sample{At: at, Rooms: 7}})
		}))
		if h := w.asker.Histories(t.Context()); len(h["2222"]) != 2 || len(h) != 4 {
			t.Errorf("histories = %v", h)
		}
		for at = range int64(400) {
			w.later()
		}
		w.serve("node2", nil)
		w.later()
		if h := w.asker.Histories(t.Context())["2222"]; len(h) != 300 || h[299].At != 399 || h[299].Rooms != 7 {
			t.Errorf("%d samples of the dead node, the last of them %+v", len(h), h[len(h)-1])
		}
		w.serve("node2", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"appid":"2222","samples":[{"at":399,"rooms":8},{"at":500}]}`)
		}))
		if h := w.asker.Histories(t.Context())["2222"]; len(h) != 300 || h[297].At != 398 || h[298].Rooms != 8 || h[299].At != 500 {
			t.Errorf("%d samples of the node that is back, the last of them %+v", len(h), h[len(h)-3:])
		}
	})
}

// However many ask for histories at once, no node is asked by more than a few of them.
func TestHistoriesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var now, most atomic.Int32
		w.serve("node2", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(600 * time.Millisecond)
			_, _ = io.WriteString(w, `{"appid":"2222","samples":[{"at":1}]}`)
		}))
		page := w.asker.Handler(http.NotFoundHandler())
		var all sync.WaitGroup
		var told, busy atomic.Int32
		for range 40 {
			all.Go(func() {
				rec := httptest.NewRecorder()
				page.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/ring/history", nil))
				switch rec.Code {
				case http.StatusOK:
					told.Add(1)
				case http.StatusServiceUnavailable:
					busy.Add(1)
				}
			})
		}
		all.Wait()
		if most.Load() > 4 || told.Load() < 20 || told.Load()+busy.Load() != 40 {
			t.Errorf("asked by %d at once; %d were told, %d were to come again", most.Load(), told.Load(), busy.Load())
		}
	})
}

// A node that calls itself something else each time does not fill the memory.
func TestNamesWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := 5000
		w.serve("node2", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n++
			_, _ = fmt.Fprintf(w, `{"appid":"%d","at":%d,"samples":[]}`, n, n)
		}))
		for range 50 {
			w.later()
			w.asker.Histories(t.Context())
		}
		if h := w.asker.Histories(t.Context()); len(h) > 6 {
			t.Errorf("histories of %d nodes", len(h))
		}
	})
}

// Whatever a node does, the others are seen in time.
func TestOddNodes(t *testing.T) {
	for name, odd := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"hangs":         {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer in time"},
		"fails":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "it answers 500"},
		"sends away":    {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://node1/", http.StatusFound) }, "it answers 302"},
		"writes a page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "what it says is none of a node's answers"},
		"is none":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, "what it says is none of a node's answers"},
		"says too much": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"appid":"3333","version":"`+strings.Repeat("x", 10<<20)+`"}`)
		}, "what it says is none of a node's answers"},
		"has no end of events": {func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(ring.Node{AppID: "3333", Events: make([]ring.Event, 5000)})
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.serve("node3", odd.h)
				began := time.Now()
				s, err := w.asker.State(t.Context())
				if err != nil || time.Since(began) > 700*time.Millisecond {
					t.Fatalf("%v after %v", err, time.Since(began))
				}
				problem, answers := "", 0
				for _, n := range s.Nodes {
					if n.Asked && n.Answers {
						answers++
					}
					if n.Address == "http://node3" {
						problem = n.Problem
					}
				}
				if want := map[bool]int{true: 4, false: 3}[odd.want == ""]; problem != odd.want || answers != want || len(s.Events) > 200 {
					t.Errorf("problem %q, want %q; %d nodes answer, with %d events", problem, odd.want, answers, len(s.Events))
				}
			})
		})
	}
}

// However many look, each node is asked once at a time, and not again within half a second.
// When nobody looks, nobody is asked.
func TestOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("node4", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(300 * time.Millisecond) }))
		look := func(want int) {
			t.Helper()
			var looking sync.WaitGroup
			for range 50 {
				looking.Go(func() {
					if _, err := w.asker.State(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			looking.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			for host, n := range w.asked {
				if n != want {
					t.Errorf("%s was asked %d times, want %d", host, n, want)
				}
			}
		}
		look(1)
		time.Sleep(400 * time.Millisecond)
		look(1)
		time.Sleep(time.Minute)
		look(2)
	})
}

// Who does not wait for the answers gets none; the look goes on for the others.
func TestImpatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("node4", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if s, err := w.asker.State(ctx); err == nil {
			t.Errorf("state = %+v after 10 ms", s)
		}
		if s, err := w.asker.State(t.Context()); err != nil || len(s.Nodes) != 5 { // 4444 is a server without its node
			t.Errorf("state = %+v, %v", s, err)
		}
	})
}

// Without HAProxy the ring is the last that is known, less those who do not answer; where
// none is known it is what haproxy.cfg makes of the nodes.
func TestWithoutHAProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("haproxy", nil)
		first := w.later()
		if !first.Ring.Assumed || first.HAProxy.Answers || first.HAProxy.Problem != "nobody listens there" || first.Nodes[0].Share < 0.2 {
			t.Errorf("state = %+v", first)
		}
		w.serve("haproxy", servers("UP", "UP", "UP", "NOLB"))
		known := w.later()
		if known.Ring.Assumed || !known.HAProxy.Answers || known.Nodes[3].On {
			t.Errorf("state = %+v", known)
		}
		w.serve("haproxy", http.NotFoundHandler())
		w.serve("node2", nil)
		s := w.later()
		if s.Ring.Assumed || s.HAProxy.Problem != "it answers 404" || s.Nodes[1].On || s.Nodes[1].Full != first.Nodes[1].Full || !s.Nodes[0].On {
			t.Errorf("state = %+v", s)
		}
		want := []string{"4444 is off the ring: it drains", "does not answer: nobody listens there", "answers again", "2222 does not answer: nobody listens there", "does not answer: it answers 404"}
		if got := news(s); !slices.Equal(got, want) {
			t.Errorf("news = %q, want %q", got, want)
		}
	})
}

// A node that was told of no others shows itself.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := ring.NewAsker(self("1111"), ring.Peers{}).State(t.Context())
		if err != nil || !s.Alone || len(s.Nodes) != 1 || !s.Nodes[0].Answers || s.Nodes[0].Share != 1 || s.HAProxy.Asked || s.Ring.Now != strings.Repeat("0", 720) {
			t.Errorf("state = %+v, %v", s, err)
		}
	})
}

// door is where HAProxy sends rooms.
func door(appid string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		room := strings.TrimPrefix(r.URL.Path, "/shard/")
		_, _ = fmt.Fprintf(w, `{"room":%q,"shard":%q}`, room, appid)
	}
}

// Where a room lives, and why. room-5's place on the ring is 2222's, and 4444 is next.
func TestFind(t *testing.T) {
	two, three := "room-5.2222", "x.3333.4444"
	for _, c := range []struct {
		name   string
		room   string
		door   http.Handler
		states []string
		silent string
		why    ring.Reason
		home   string
		split  bool
		text   string
	}{
		{
			"by its hash", "room-5", door("2222"), nil, "", ring.ByHash, "2222", false,
			"room-5 is at home on 2222: the nearest point of the ring is its. No node has it open.",
		},
		{
			"its node is dead", "room-5", door("4444"),
			[]string{"UP", "DOWN", "UP", "UP"},
			"node2", ring.Moved, "4444", false,
			"room-5 is at home on 4444 for now: the nearest point of the ring is of 2222, which is off the ring: HAProxy finds it down. No node has it open. Not known of 2222: no answer.",
		},
		{
			"pinned", "room-5", door("3333"), nil, "", ring.Pinned, "3333", false,
			"HAProxy sends room-5 to 3333, and its hash names 2222: it is pinned in haproxy.cfg, or that is another ring than the one drawn here. No node has it open.",
		},
		{
			"HAProxy is down", "room-5", nil, nil, "", ring.Unasked, "2222", false,
			"room-5 belongs on 2222 by its hash; HAProxy itself does not say so (nobody listens there). No node has it open.",
		},
		{
			"HAProxy talks nonsense", "room-5", door(""), nil, "", ring.Unasked, "2222", false,
			"room-5 belongs on 2222 by its hash; HAProxy itself does not say so (what it says is none of a node's answers). No node has it open.",
		},
		{
			"no node is there", "room-5", nil,
			[]string{"DOWN", "DOWN", "DOWN", "DOWN"},
			"", ring.Nowhere, "", false,
			"No node is on the ring, so nobody can come. No node has it open.",
		},
		{
			"with members", two, door("2222"), nil, "", ring.Pinned, "2222", false,
			"HAProxy sends " + two + " to 2222, and its hash names 3333: it is pinned in haproxy.cfg, or that is another ring than the one drawn here. All of its members are there: 2 members. Watchers, who may sit anywhere: 2222 (1).",
		},
		{
			"members elsewhere", two, door("3333"), nil, "", ring.ByHash, "3333", true,
			two + " is at home on 3333: the nearest point of the ring is its. Its members sit elsewhere, on 2222 (2 members), until they are led home. Watchers, who may sit anywhere: 2222 (1).",
		},
		{
			"split", three, door("3333"), nil, "", ring.ByHash, "3333", true,
			three + " is at home on 3333: the nearest point of the ring is its. It is split over 3333 (2 members) and 4444 (2 members): Redis bridges it, and members are led home. Watchers, who may sit anywhere: 3333 (1) and 4444 (1).",
		},
		{
			"an inbox", "@bob.2222", door("4444"), nil, "", ring.Nowhere, "", false,
			"An inbox has no home: it is served wherever a socket of its user is. Somebody is in it on 2222 (2 members). Watchers, who may sit anywhere: 2222 (1).",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.serve("door", c.door)
				w.later() // so that all nodes are known
				if c.states != nil {
					w.serve("haproxy", servers(c.states...))
				}
				if c.silent != "" {
					w.serve(c.silent, nil)
				}
				time.Sleep(time.Second)
				got, err := w.asker.Find(t.Context(), chat.RoomID(c.room))
				if err != nil {
					t.Fatal(err)
				}
				if got.Why != c.why || got.Home != c.home || got.Split != c.split || got.Text != c.text {
					t.Errorf("found %+v,\nwant %s on %q (split: %v): %s", got, c.why, c.home, c.split, c.text)
				}
			})
		})
	}
}

// A ring that changes between two questions is no pin: the second look finds out.
func TestFindWhileTheRingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("door", door("4444"))
		w.later()
		w.serve("haproxy", servers("UP", "DOWN", "UP", "UP")) // after the look that is fresh
		got, err := w.asker.Find(t.Context(), "room-5")
		if err != nil || got.Why != ring.Moved {
			t.Errorf("found %+v, %v; want that it has moved", got, err)
		}
	})
}

// The addresses are read-only, name rooms as chat does, and are not for pages of others.
func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("door", door("2222"))
		page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the page") })
		h := w.asker.Handler(page)
		for _, c := range []struct {
			method, path, site string
			status             int
			has                string
		}{
			{"GET", "/ring/", "", 200, "the page"},
			{"GET", "/ring/", "cross-site", 200, "the page"}, // a link to it
			{"GET", "/ring/state", "same-origin", 200, `"by":"1111"`},
			{"GET", "/ring/state", "cross-site", 403, "forbidden"},
			{"GET", "/ring/node", "same-site", 403, "forbidden"},
			{"GET", "/ring/node", "none", 200, `"appid":"1111"`},
			{"GET", "/ring/node/history", "", 200, `{"appid":"1111","samples":`},
			{"GET", "/ring/history", "", 200, `"4444":`},
			{"GET", "/ring/rooms/room-5", "", 200, `"why":"hash"`},
			{"GET", "/ring/rooms/@a+b", "", 200, `"why":`},
			{"GET", "/ring/rooms/a%20b", "", 400, "bad_room"},
			{"GET", "/ring/rooms/!nodes", "", 400, "bad_room"},
			{"GET", "/ring/rooms/" + strings.Repeat("x", 65), "", 400, "bad_room"},
			{"GET", "/ring/node/rooms/x.1111", "", 200, `{"serves":true,"members":3,"watchers":1,`},
			{"GET", "/ring/node/rooms/x", "", 200, `{"serves":false,`},
			{"GET", "/ring/node/rooms/%2e%2e", "", 400, "bad_room"},
		} {
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil)
			if c.site != "" {
				r.Header.Set("Sec-Fetch-Site", c.site)
			}
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			if answer.Code != c.status || !strings.Contains(answer.Body.String(), c.has) {
				t.Errorf("%s %s (%s): %d %.200s, want %d with %s", c.method, c.path, c.site, answer.Code, answer.Body, c.status, c.has)
			}
		}
	})
}
