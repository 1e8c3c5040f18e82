package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A fake is a cluster that does as a test says.
type fake struct {
	api     http.HandlerFunc
	limit   int  // messages that a socket may say
	lose    bool // the third message of a room reaches nobody
	double  bool // it is told twice
	silent  bool // it is never answered
	hangsUp bool // a socket that says it is closed

	// Guarded by mu.
	mu      sync.Mutex
	members map[string][]*websocket.Conn
	said    map[string]int
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	room, ok := strings.CutPrefix(r.URL.Path, "/ws/chat/")
	if !ok {
		f.api(w, r)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chatring.v1"}})
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	if r.URL.Query().Get("echo") != "false" {
		f.mu.Lock()
		f.members[room] = append(f.members[room], ws)
		f.mu.Unlock()
	}
	f.tell(ws, `{"push":"joined"}`)
	for n := 1; ; n++ {
		_, b, err := ws.Read(r.Context())
		if err != nil || f.hangsUp && n == 3 {
			return
		}
		f.hear(ws, room, b, n)
	}
}

// hear answers the n-th message of a socket, and passes it on.
func (f *fake) hear(ws *websocket.Conn, room string, b []byte, n int) {
	var c struct {
		ID   int
		Data json.RawMessage
	}
	if json.Unmarshal(b, &c) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.limit {
		f.tell(ws, fmt.Sprintf(`{"id":%d,"error":{"code":"rate_limited"}}`, c.ID))
		return
	}
	f.said[room]++
	third := f.said[room] == 3
	if !f.silent || !third {
		f.tell(ws, fmt.Sprintf(`{"id":%d,"ok":{}}`, c.ID))
	}
	times := 1
	switch {
	case third && f.lose:
		times = 0
	case third && f.double:
		times = 2
	}
	for range times {
		for _, m := range f.members[room] {
			f.tell(m, fmt.Sprintf(`{"push":"message","data":%s}`, c.Data))
		}
	}
}

func (f *fake) tell(ws *websocket.Conn, frame string) {
	_ = ws.Write(context.Background(), websocket.MessageText, []byte(frame))
}

// wary answers the first requests of a service, and bids the others wait.
func wary(status int, hint bool) http.HandlerFunc {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		service := r.URL.Query().Get("service")
		if seen[service]++; service == "flood" && seen[service] > 10 {
			if hint {
				w.Header().Set("Retry-After", "1")
			}
			w.WriteHeader(status)
		}
	}
}

// The program measures, and says what was wrong and nothing else.
func TestIsolation(t *testing.T) {
	for name, test := range map[string]struct {
		cluster *fake
		wrong   []string
	}{
		"all is well":               {&fake{api: wary(429, true), limit: 5}, nil},
		"a node is full":            {&fake{api: wary(503, true), limit: 5}, nil},
		"no time to wait":           {&fake{api: wary(429, false), limit: 5}, []string{"requests of the flood: "}},
		"an answer like no other":   {&fake{api: wary(502, true), limit: 5}, []string{"requests of the flood: other answers"}},
		"the API answers nothing":   {&fake{api: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, limit: 5}, []string{"measured requests: none", "measured requests: other", "requests of the flood: none", "requests of the flood: other"}},
		"a message is lost":         {&fake{api: wary(429, true), limit: 5, lose: true}, []string{"measured rooms: 100 deliveries were lost"}},
		"a message is doubled":      {&fake{api: wary(429, true), limit: 5, double: true}, []string{"measured rooms: 100 deliveries were doubled"}},
		"a message is not answered": {&fake{api: wary(429, true), limit: 5, silent: true}, []string{"measured rooms: 10 messages were not answered", "flood of sockets: 1 messages were not answered"}},
		"a socket is closed":        {&fake{api: wary(429, true), limit: 5, hangsUp: true}, []string{"measured rooms: 10 sockets were closed", "measured rooms: 20 messages were not answered", "flood of sockets: ", "flood of sockets: "}},
		"nobody may say a thing":    {&fake{api: wary(429, true)}, []string{"measured rooms: nothing was said", "measured rooms: nothing was delivered", "flood of sockets: nothing was said"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := test.cluster
			f.members, f.said = map[string][]*websocket.Conn{}, map[string]int{}
			server := httptest.NewServer(f)
			defer server.Close()
			var out bytes.Buffer
			code := start([]string{
				"-url", server.URL, "-duration", "300ms", "-rounds", "1", "-sockets", "1", "-says", "30", "-shakes", "20", "-requests", "100", "-patience", "2s",
			}, &out)
			var r results
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			slices.Sort(r.Wrong)
			want := slices.Sorted(slices.Values(test.wrong))
			if !slices.EqualFunc(r.Wrong, want, strings.HasPrefix) || (code == 0) != (len(want) == 0) {
				t.Errorf("exit code %d, wrong:\n%s\nwant:\n%s", code, strings.Join(r.Wrong, "\n"), strings.Join(want, "\n"))
			}
			if len(want) > 0 {
				return
			}
			if r.API.Alone.Count == 0 || r.API.Flooded.Count == 0 || r.Chat.Alone.Count != 200 || r.Chat.Flooded.Count != 200 || r.API.P99Ratio <= 0 || r.Chat.P99Ratio <= 0 {
				t.Errorf("measured %+v and %+v", r.API, r.Chat)
			}
		})
	}
}

// Of many times the 99th percentile is the least that 99 of 100 are not above.
func TestTimes(t *testing.T) {
	var s samples
	for i := range 200 {
		s.add(time.Duration(200-i) * time.Millisecond)
	}
	if got, want := s.times(), (times{200, 100, 198, 200}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := new(samples).times(); got != (times{}) {
		t.Errorf("of none: %+v", got)
	}
}

// What makes no sense is said, and nothing is measured.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-url", "localhost"}, {"-rounds", "0"}, {"-sockets", "0"}, {"-says", "-1"}, {"more"}, {"-unknown"}} {
		if code := start(args, &bytes.Buffer{}); code != 2 {
			t.Errorf("%v: exit code %d, want 2", args, code)
		}
	}
}
