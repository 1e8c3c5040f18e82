package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	halls = map[string]func() *hall{"chatring": chatringHall, "socketio": socketioHall, "nats": natsHall, "plain": plainHall}
	own   = strconv.Itoa(os.Getpid())
	brief = []string{"-warm", "20ms", "-duration", "200ms"}
)

func talkTo(url, wire string, more ...string) []string {
	return slices.Concat([]string{"talk", "-url", url, "-wire", wire, "-pid", own, "-rest", "1ms"}, brief, more)
}

// Ensure that all wires are understood, in closed and in open loop, by one
// thread and by several, whether members are timed or set aside, and however the
// server's frames are cut.
func TestTalk(t *testing.T) {
	for wire, hall := range halls {
		for _, load := range []string{
			"-rooms 1 -members 8 -publishers 3 -window 4",
			"-rooms 3 -members 4 -publishers 4 -samples 0 -threads 2",
			"-rooms 2 -members 9 -publishers 2 -samples 1 -rate 200 -bytes 300",
			"-rooms 4 -members 2 -rate 500 -threads 3",
			"-rooms 2 -members 9 -publishers 2 -sse",
		} {
			if strings.Contains(load, "-sse") && wire != "chatring" {
				continue
			}
			t.Run(wire+" "+load, func(t *testing.T) {
				t.Parallel()
				var f talkFigures
				h := hall()
				code, out, errs := fanout(t, &f, talkTo(h.start(t), wire, strings.Fields(load)...)...)
				if code != 0 || f.audit != (audit{}) {
					t.Fatalf("exit code %d: %s\n%s", code, errs, out)
				}
				h.mu.Lock()
				streams := slices.ContainsFunc(h.queries, func(q string) bool { return strings.HasPrefix(q, "/sse/chat/") })
				h.mu.Unlock()
				if want := strings.Contains(load, "-sse"); streams != want || f.SSE != want {
					t.Errorf("there were streams: %v, want %v", streams, want)
				}
				if f.Deliveries < 10 || f.OwnPerCPU <= 0 || f.Rate == 0 && f.PerCPU <= 0 || len(f.Processes) == 0 {
					t.Errorf("figures are %+v", f)
				}
				if timed := !strings.Contains(load, "-samples 0"); timed != (f.Deliver.Count > 0) {
					t.Errorf("%d deliveries are timed", f.Deliver.Count)
				}
				if acks := wire == "chatring" || wire == "socketio"; acks != (f.Ack.Count > 0) || acks != strings.Contains(out, "acknowledgement") {
					t.Errorf("%d acknowledgements are timed", f.Ack.Count)
				}
				if want := min(f.Rooms, f.Threads); f.Threads > 3 || want != f.Threads {
					t.Errorf("%d threads for %d rooms", f.Threads, f.Rooms)
				}
			})
		}
	}
}

// Ensure that a server's own pings are answered.
func TestPings(t *testing.T) {
	for _, wire := range []string{"socketio", "nats"} {
		h := halls[wire]()
		if code, _, errs := fanout(t, nil, talkTo(h.start(t), wire, "-members", "2")...); code != 0 {
			t.Error(errs)
		}
		h.mu.Lock()
		if !slices.Contains(h.queries, "pong") {
			t.Errorf("%s: no ping was answered", wire)
		}
		h.mu.Unlock()
	}
}

// Ensure that a delivery that is lost, doubled, swapped with the next, or not
// ours is found, whatever the wire, and is the only thing that is found.
func TestWrongDeliveries(t *testing.T) {
	// Each fault happens at the fifth message, to one guest.
	faults := map[string]struct {
		deliver func(g *guest, frame, kept []byte) [][]byte
		want    audit
	}{
		"lost": {func(g *guest, f, _ []byte) [][]byte {
			if g.heard == 5 {
				return nil
			}
			return [][]byte{f}
		}, audit{Missing: 1}},
		"doubled": {func(g *guest, f, _ []byte) [][]byte {
			if g.heard == 5 {
				return [][]byte{f, f}
			}
			return [][]byte{f}
		}, audit{Doubled: 1}},
		"swapped": {func(g *guest, f, last []byte) [][]byte {
			switch g.heard {
			case 5:
				return nil
			case 6:
				return [][]byte{f, last}
			}
			return [][]byte{f}
		}, audit{Disordered: 1}},
	}
	for wire, hall := range halls {
		for name, fault := range faults {
			t.Run(wire+" "+name, func(t *testing.T) {
				t.Parallel()
				h := hall()
				var victim *guest // the first who hears something
				var last []byte   // that it heard
				h.deliver = func(g *guest, f []byte) [][]byte {
					if victim == nil {
						victim = g
					}
					if g != victim {
						return [][]byte{f}
					}
					frames := fault.deliver(g, f, last)
					last = f
					return frames
				}
				var f talkFigures
				code, out, errs := fanout(t, &f, talkTo(h.start(t), wire, "-members", "3", "-publishers", "1", "-rate", "100", "-settle", "2s")...)
				if wire == "chatring" { // which has positions besides
					f.Disordered = min(f.Disordered, fault.want.Disordered)
				}
				if code != 1 || f.audit != fault.want || !strings.Contains(errs, "out of order") {
					t.Errorf("exit code %d, found %+v, want %+v\n%s%s", code, f.audit, fault.want, out, errs)
				}
			})
		}
	}
}

// Ensure that a position that is skipped is found, though no message is missing.
func TestSkippedPosition(t *testing.T) {
	h := chatringHall()
	h.deliver = func(g *guest, f []byte) [][]byte {
		if g.heard == 5 {
			return [][]byte{[]byte(strings.Replace(string(f), `"pos":"1763776000000-`, `"pos":"1763776000000-1`, 1))}
		}
		return [][]byte{f}
	}
	var f talkFigures
	code, _, _ := fanout(t, &f, talkTo(h.start(t), "chatring", "-members", "1", "-rate", "100")...)
	if want := (audit{Disordered: 2}); code != 1 || f.audit != want { // there, and back
		t.Errorf("exit code %d, found %+v, want %+v", code, f.audit, want)
	}
}

// Ensure that replies that are errors are counted.
func TestErrorReplies(t *testing.T) {
	h := chatringHall()
	speak := h.speak
	said := 0
	h.speak = func(h *hall, ctx context.Context, g *guest, b []byte) {
		speak(h, ctx, g, b)
		if said++; said == 3 {
			g.say(ctx, `{"id":1,"error":{"code":"rate_limited","message":"more than may be sent"}}`)
		}
	}
	var f talkFigures
	code, _, _ := fanout(t, &f, talkTo(h.start(t), "chatring", "-members", "1", "-rate", "100")...)
	if want := (audit{Errors: 1}); code != 1 || f.audit != want {
		t.Errorf("exit code %d, found %+v, want %+v", code, f.audit, want)
	}
}

// Ensure that a run fails, and says why, when the server refuses, closes, or
// is not there.
func TestRefusals(t *testing.T) {
	h := plainHall()
	h.speak = func(_ *hall, _ context.Context, g *guest, _ []byte) { _ = g.Close(4008, "slow") }
	closing := h.start(t)
	foreign := plainHall()
	foreign.speak = func(_ *hall, ctx context.Context, g *guest, _ []byte) { g.say(ctx, "hi") }
	refusing := natsHall()
	refusing.speak = func(_ *hall, ctx context.Context, g *guest, _ []byte) {
		g.say(ctx, "-ERR 'Authorization Violation'\r\n")
	}
	for _, c := range []struct{ wire, url, want string }{
		{"plain", closing, "closed with 4008"},
		{"plain", foreign.start(t), `not ours: "hi"`},
		{"nats", refusing.start(t), "Authorization Violation"},
		{"plain", "ws://127.0.0.1:1", "refused"},
		{"plain", "http://127.0.0.1:1", "no ws:// address"},
	} {
		code, _, errs := fanout(t, nil, talkTo(c.url, c.wire, "-members", "2")...)
		if code != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("exit code %d: %s; want one that says %q", code, errs, c.want)
		}
	}
}

// Ensure that nothing is said before joins had time to spread.
func TestRest(t *testing.T) {
	h := plainHall()
	h.greet = func(h *hall, ctx context.Context, g *guest) {
		time.AfterFunc(100*time.Millisecond, func() { h.enter(g, g.room) })
		g.say(ctx, "joined")
	}
	code, _, errs := fanout(t, nil, talkTo(h.start(t), "plain", "-members", "3", "-rest", "2s", "-settle", "100ms")...)
	if code != 0 {
		t.Error(errs)
	}
}

// Ensure that tokens are shown in turn, and that a user is named without one.
func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := chatringHall()
	if code, _, errs := fanout(t, nil, talkTo(h.start(t), "chatring", "-members", "4", "-token-file", file)...); code != 0 {
		t.Fatal(errs)
	}
	shown := map[string]int{}
	for i, header := range h.headers {
		shown[header.Get("Authorization")]++
		if strings.Contains(h.queries[i], "user") {
			t.Errorf("asked for %s besides a token", h.queries[i])
		}
	}
	if shown["Bearer one"] != 2 || shown["Bearer two"] != 2 {
		t.Errorf("shown: %v", shown)
	}
	h = chatringHall()
	if code, _, errs := fanout(t, nil, talkTo(h.start(t), "chatring", "-members", "1")...); code != 0 {
		t.Fatal(errs)
	}
	if !strings.HasSuffix(h.queries[0], "?user=user0") || h.headers[0].Get("Authorization") != "" {
		t.Errorf("asked for %s with %v", h.queries[0], h.headers[0])
	}
}

// Ensure that connect counts joins of all wires.
func TestConnect(t *testing.T) {
	for wire, hall := range halls {
		var f connectFigures
		h := hall()
		code, out, errs := fanout(t, &f, append([]string{"connect", "-url", h.start(t), "-wire", wire, "-pid", own, "-rooms", "3", "-parallel", "5", "-threads", "2"}, brief...)...)
		if code != 0 || f.Upgrades < 10 || int(f.Upgrades) > f.Joined.Count+5 || f.PerCPU <= 0 || f.Errors != 0 {
			t.Errorf("%s: exit code %d: %s\n%s", wire, code, errs, out)
		}
		h.mu.Lock()
		if h.most > 3+5+int(f.Upgrades)/2 { // the hall sees a close later
			t.Errorf("%s: %d sockets at a time, of %d upgrades", wire, h.most, f.Upgrades)
		}
		h.mu.Unlock()
	}
}

// Ensure that connect counts those who are refused, and gives up when all are.
func TestConnectRefused(t *testing.T) {
	for _, c := range []struct {
		refuse func(n int) bool
		want   string
	}{
		{func(n int) bool { return n%5 == 1 }, "errors: "},
		{func(n int) bool { return n > 0 }, "nobody joined"}, // the first one stays
	} {
		h := plainHall()
		h.refuse = c.refuse
		var f connectFigures
		code, _, errs := fanout(t, &f, append([]string{"connect", "-url", h.start(t), "-wire", "plain", "-rooms", "1"}, brief...)...)
		if code != 1 || !strings.Contains(errs, c.want) || !strings.Contains(errs, "HTTP/1.1 401 Unauthorized") {
			t.Errorf("exit code %d: %s; want one that says %q", code, errs, c.want)
		}
		if c.want == "errors: " && (f.Errors == 0 || f.Upgrades == 0) {
			t.Errorf("%d errors, %d upgrades", f.Errors, f.Upgrades)
		}
	}
}

// Ensure that publish counts acknowledgements, for each process, too.
func TestPublish(t *testing.T) {
	for _, wire := range []string{"chatring", "socketio"} {
		var f publishFigures
		code, out, errs := fanout(t, &f, append([]string{"publish", "-url", halls[wire]().start(t), "-wire", wire, "-pid", own, "-sessions", "6", "-rooms", "3", "-window", "3", "-threads", "2"}, brief...)...)
		if code != 0 || f.Acked < 10 || f.audit != (audit{}) || f.Ack.Count == 0 {
			t.Errorf("%s: exit code %d: %s\n%s", wire, code, errs, out)
		}
		if len(f.Processes) == 0 || f.Processes[0].PID != os.Getpid() || f.Processes[0].PerCPU <= 0 {
			t.Errorf("processes are %+v", f.Processes)
		}
	}
}

// Ensure that return measures what it should, and history.
func TestReturn(t *testing.T) {
	var f returnFigures
	code, out, errs := fanout(t, &f, "return", "-url", chatringHall().start(t), "-pid", own, "-n", "6", "-rooms", "2", "-missed", "20", "-rounds", "3", "-parallel", "2", "-threads", "2")
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, errs, out)
	}
	for _, e := range []errands{f.Recovered, f.UpToDate, f.History} {
		if e.Count != 18 {
			t.Errorf("%d times, want 18: %+v", e.Count, e)
		}
	}
	if f.Recovered.Messages != 20 || f.UpToDate.Messages != 0 || f.History.Messages != 20 {
		t.Errorf("messages: %d, %d, %d; want 20, 0, 20", f.Recovered.Messages, f.UpToDate.Messages, f.History.Messages)
	}
}

// Ensure that a return that recovers nothing is no return.
func TestReturnWithoutRecovery(t *testing.T) {
	h := chatringHall()
	speak := h.speak
	h.speak = func(h *hall, ctx context.Context, g *guest, b []byte) {
		speak(h, ctx, g, []byte(strings.Replace(string(b), `"since":"1763776000000`, `"since":"1`, 1)))
	}
	code, _, errs := fanout(t, nil, "return", "-url", h.start(t), "-pid", own, "-n", "2", "-missed", "5", "-rounds", "1")
	if code != 1 || !strings.Contains(errs, `"recovered":false`) {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// Ensure that idle counts what connections take, and lets each join further
// rooms. The hall is in this process.
func TestIdle(t *testing.T) {
	var f idleFigures
	h := chatringHall()
	greet := h.greet
	h.greet = func(h *hall, ctx context.Context, g *guest) {
		g.carry = bytes.Repeat([]byte("x"), 200<<10)
		greet(h, ctx, g)
	}
	debug.FreeOSMemory() // what other tests left would be taken again
	code, out, errs := fanout(t, &f, "idle", "-url", h.start(t), "-pid", own, "-n", "200", "-rooms", "50", "-wait", "50ms", "-more", "3", "-threads", "2")
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, errs, out)
	}
	if f.Connections != 200 || f.More != 3 || f.EachKB < 100 || f.MoreKB <= 0 || f.JoinCPU < 0 {
		t.Errorf("figures are %+v", f)
	}
	for room, n := range h.joins {
		if n != 4 {
			t.Errorf("%d members have joined %s, want 4", n, room)
		}
	}
	if len(h.joins) != 150 {
		t.Errorf("%d further rooms were joined, want 3 for each of 50", len(h.joins))
	}
}

// Ensure that memory of a process that has not the connections is no figure.
func TestIdleOfAnother(t *testing.T) {
	other := exec.CommandContext(t.Context(), "sleep", "60")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	code, _, errs := fanout(t, nil, "idle", "-url", chatringHall().start(t), "-pid", strconv.Itoa(other.Process.Pid), "-n", "4", "-rooms", "1", "-wait", "1ms")
	if code != 1 || !strings.Contains(errs, "of 4 connections, the processes of -pid have 0") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// Ensure that each connection's further room may be the inbox of its user.
func TestIdleInbox(t *testing.T) {
	var f idleFigures
	h := chatringHall()
	code, out, errs := fanout(t, &f, "idle", "-url", h.start(t), "-pid", own, "-n", "20", "-rooms", "20", "-wait", "50ms", "-inbox")
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, errs, out)
	}
	if len(h.joins) != 20 || h.joins["@idle19-0"] != 1 || !f.Inbox {
		t.Errorf("%v, %+v: want 20 inboxes", h.joins, f)
	}
}

// Ensure that what cannot be measured is said before anything begins.
func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "usage: fanout"},
		{"shout", 2, "unknown verb: shout"},
		{"talk -wire smoke", 2, "unknown wire: smoke"},
		{"talk -bytes 10", 2, "-bytes is at least 56"},
		{"talk -members 0", 2, "-members"},
		{"talk -publishers 10000", 2, "-publishers is at most 9999"},
		{"talk -threads 0", 2, "-threads"},
		{"talk -pid x", 2, `"x" is no process id`},
		{"talk -shout", 2, "-shout"},
		{"talk 7", 2, "unknown argument: 7"},
		{"talk -token-file /nowhere", 2, "/nowhere"},
		{"idle", 2, "-pid is needed"},
		{"idle -pid 1 -n 7 -rooms 2", 2, "multiple of -rooms"},
		{"idle -pid 1 -wire plain -more 1", 2, "for -wire chatring"},
		{"connect -parallel 0", 2, "-parallel"},
		{"publish -wire nats", 2, "nats has no acknowledgements"},
		{"publish -sessions 5 -rooms 2", 2, "multiple of -rooms"},
		{"return -wire plain", 2, "plain has no positions"},
		{"return", 2, "-pid is needed"},
	} {
		code, _, errs := fanout(t, nil, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("fanout %s: exit code %d: %s", c.args, code, errs)
		}
	}
	code, help, _ := fanout(t, nil, "--help")
	for verb := range verbs {
		if code != 0 || !strings.Contains(help, "\n  "+verb+" ") {
			t.Errorf("exit code %d, %s is not explained", code, verb)
		}
		if code, out, errs := fanout(t, nil, verb, "-h"); code != 0 || !strings.Contains(out, "  -wire name\n") || errs != "" {
			t.Errorf("fanout %s -h: exit code %d: %s%s", verb, code, out, errs)
		}
	}
}
