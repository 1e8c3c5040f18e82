package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A fakeNode answers each handshake, one after the other, by what the test says.
type fakeNode struct {
	*httptest.Server
	asked   atomic.Int64
	answers []func(w http.ResponseWriter, r *http.Request)
}

func newFakeNode(t *testing.T, answers ...func(w http.ResponseWriter, r *http.Request)) *fakeNode {
	n := &fakeNode{answers: answers}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := int(n.asked.Add(1)) - 1
		n.answers[min(i, len(n.answers)-1)](w, r)
	}))
	t.Cleanup(n.Close)
	return n
}

// says is a socket that pushes frames, answers one question for history, if page is
// not empty, and then is closed with code, or stays open when that is 0.
func says(code websocket.StatusCode, page string, frames ...string) func(w http.ResponseWriter, r *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chatring.v1"}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for _, f := range frames {
			if ws.Write(r.Context(), websocket.MessageText, []byte(f)) != nil {
				return
			}
		}
		if page != "" {
			if _, b, err := ws.Read(r.Context()); err != nil || !strings.Contains(string(b), `"cmd":"history"`) {
				return
			}
			if ws.Write(r.Context(), websocket.MessageText, []byte(page)) != nil {
				return
			}
		}
		if code != 0 {
			_ = ws.Close(code, "")
			return
		}
		<-ws.CloseRead(context.WithoutCancel(r.Context())).Done()
	}
}

func joined(pos string, recovered bool, missed int) string {
	return fmt.Sprintf(`{"push":"joined","room":"r-0","pos":%q,"recovered":%v,"missed":%d}`, pos, recovered, missed)
}

func message(pos string) string { return fmt.Sprintf(`{"push":"message","pos":%q,"data":1}`, pos) }

// one is a crowd of one member, who is at last in the end.
func one(t *testing.T, n *fakeNode, last position) *crowd {
	t.Helper()
	c := newCrowd(t.Context(), strings.TrimPrefix(n.URL, "http://"), "r", 1, 1, nil)
	t.Cleanup(c.leave)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if behind := c.caughtUp(ctx, map[string]position{"r-0": last}); behind != 0 {
		t.Fatalf("the member did not hear %v", last)
	}
	return c
}

// Ensure that a member counts what it was not told of, and what it was told twice.
func TestCrowdCounts(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		frames                   []string
		holes, doubled, declared int
	}{
		{"all of it", []string{message("5-1"), message("5-2")}, 0, 0, 0},
		{"a hole", []string{message("5-2")}, 1, 0, 0},
		{"twice", []string{message("5-1"), message("5-1"), message("5-2")}, 0, 1, 0},
		{"backwards", []string{message("5-1"), message("5-0"), message("5-2")}, 0, 1, 0},
		{"a gap", []string{`{"push":"gap","after":"5-0","before":"5-2"}`, message("5-2")}, 0, 0, 1},
		{"a reset", []string{`{"push":"reset","lost":"5-0","pos":"4-9"}`, message("6-0"), message("5-2")}, 0, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t, says(0, "", append([]string{joined("5-0", false, 0)}, append(tt.frames, message("9-0"))...)...))
			met := one(t, n, position{9, 0}).met()
			// The last message, of another epoch, is a hole that nobody tells of.
			if got, want := [3]int{met.holes - 1, met.doubled, met.declared}, [3]int{tt.holes, tt.doubled, tt.declared}; got != want {
				t.Errorf("holes, doubled, declared: %v, want %v", got, want)
			}
		})
	}
}

// Ensure that a member comes back by position, hears what is recovered, and asks for
// what is not.
func TestCrowdComesBack(t *testing.T) {
	var since atomic.Value
	back := says(0, `{"id":1,"ok":{"messages":[`+message("5-2")+`,`+message("5-3")+`],"more":false}}`, joined("5-3", false, 0), message("5-4"))
	n := newFakeNode(t,
		says(4008, "", joined("5-0", false, 0), message("5-1")),
		func(w http.ResponseWriter, r *http.Request) {
			since.Store(r.URL.Query().Get("since"))
			back(w, r)
		})
	met := one(t, n, position{5, 4}).met()
	if got := since.Load(); got != "5-1" {
		t.Errorf("it came back since %v, want 5-1", got)
	}
	if met.holes != 0 || met.doubled != 0 || met.recovered != 2 || met.ended[4008] != 1 {
		t.Errorf("%+v", met)
	}
}

// Ensure that a refusal is minded, and that one without a time to come back is a
// broken promise.
func TestCrowdIsRefused(t *testing.T) {
	refuse := func(after string) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	begun := time.Now()
	n := newFakeNode(t, refuse("1"), refuse(""), says(0, "", joined("5-0", false, 0)))
	met := one(t, n, position{5, 0}).met()
	if met.refused != 2 || met.unhinted != 1 || met.failed != 0 {
		t.Errorf("%+v", met)
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("it was back after %v, and was told to wait a second", took)
	}
	if broken := met.wrongs("the crowd"); len(broken) != 1 || !strings.Contains(broken[0], "not told when") {
		t.Errorf("broken: %q", broken)
	}
}

// Ensure that a crowd that is cut stays out until it is released.
func TestCrowdStaysOut(t *testing.T) {
	n := newFakeNode(t, says(0, "", joined("5-0", false, 0)))
	c := newCrowd(t.Context(), strings.TrimPrefix(n.URL, "http://"), "r", 3, 2, nil)
	t.Cleanup(c.leave)
	if err := c.await(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	c.cut()
	if err := c.empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, begun := n.asked.Load(), time.Now()
	// What they do in a time is what is measured.
	if sleep(t.Context(), 300*time.Millisecond); n.asked.Load() != before {
		t.Errorf("%d came back before they were let in", n.asked.Load()-before)
	}
	c.release()
	if err := c.await(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	if took := c.tookSince(begun); len(took) != 6 || slices.Max(took) <= 0 {
		t.Errorf("joins took %v", took)
	}
}

// Ensure that the rows of the crowd fail where a promise is broken, and only there.
func TestJudgeCrowd(t *testing.T) {
	well := tolls{recovered: 4000, refused: 10}
	for _, tt := range []struct {
		name   string
		met    tolls
		reads  float64
		behind int
		want   string
	}{
		{"well", well, 1.2, 0, ""},
		{"reads of every member", well, 4.1, 0, "reads of Redis"},
		{"rooms that were never forgotten", well, 0, 0, "still had them"},
		{"something missed", well, 1.2, 3, "missed what was said"},
		{"no answer", tolls{recovered: 4000, refused: 10, failed: 1}, 1.2, 0, "not answered"},
		{"a hole", tolls{recovered: 4000, refused: 10, holes: 1}, 1.2, 0, "undeclared holes"},
		{"not told when", tolls{recovered: 4000, refused: 10, unhinted: 1}, 1.2, 0, "not told when"},
	} {
		s := &scene{runner: &runner{}}
		s.judgeStorm(tt.met, tt.reads, readsMost, tt.behind, 4000)
		if all := strings.Join(s.broken, "; "); (all == "") != (tt.want == "") || !strings.Contains(all, tt.want) {
			t.Errorf("storm, %s: %q, want %q", tt.name, all, tt.want)
		}
	}
	for _, tt := range []struct {
		name        string
		held, grown int
		p99         float64
		want        string
	}{
		{"well", 8 << 20, 2 << 10, 30, ""},
		{"closed late", 40 << 20, 2 << 10, 30, "were said before"},
		{"memory", 8 << 20, 40 << 10, 30, "MiB more"},
		{"others slower", 8 << 20, 2 << 10, 60, "p99 of the others"},
	} {
		s := &scene{runner: &runner{}}
		s.judgeLoud(tt.held, tt.grown, 20, tt.p99)
		if all := strings.Join(s.broken, "; "); (all == "") != (tt.want == "") || !strings.Contains(all, tt.want) {
			t.Errorf("slow reader, %s: %q, want %q", tt.name, all, tt.want)
		}
	}
}
