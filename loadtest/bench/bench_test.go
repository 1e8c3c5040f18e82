package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func testBench(t *testing.T) *bench {
	return &bench{options: options{rounds: 2, duration: time.Second}, root: t.TempDir(), dir: t.TempDir()}
}

// Ensure that the lines of a row run in turns, that one that fails says why and keeps
// no other from running, and that a run leaves nothing behind.
func TestMeasure(t *testing.T) {
	b := testBench(t)
	r := row{metrics: []metric{perCPU}, rounds: 5}
	b.absent = map[string]error{"absent": errors.New("it cannot be had")}
	for _, name := range []string{ours, "lossy", "empty", "dead", "absent", "half"} {
		r.lines = append(r.lines, line{name: name, system: name, run: func(_ context.Context, s *stage, of *run) error {
			if _, err := os.Stat(s.dir); err != nil {
				t.Error(err)
			}
			switch name {
			case "dead":
				return errors.New("it is dead")
			case "lossy":
				of.Wrong = "1 missing"
			case "empty":
				return nil
			}
			of.Figures = figures{perCPU.key: float64(100 * of.At.Year())}
			if name == "half" {
				return errors.New("it died meanwhile")
			}
			return nil
		}})
	}
	m := b.measure(t.Context(), r)
	var order []string
	for _, of := range m.Runs {
		order = append(order, fmt.Sprint(of.Round, of.Line))
	}
	if want := []string{"1chatring", "1lossy", "1empty", "1dead", "1absent", "1half", "2chatring", "2lossy", "2empty", "2dead", "2absent", "2half"}; !slices.Equal(order, want) {
		t.Errorf("the order is %v", order)
	}
	for i, want := range []string{"", "1 missing", "no deliveries_per_cpu_second was measured", "it is dead", "it cannot be had", "it died meanwhile"} {
		if of := m.Runs[i]; of.Wrong != want || (of.Figures == nil) != (i > 1) {
			t.Errorf("%s: %q, %v", of.Line, of.Wrong, of.Figures)
		}
	}
	if left, _ := os.ReadDir(b.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Ensure that what ours loses is a failure, and what a peer loses only a note, unless
// it could not be measured at all.
func TestOK(t *testing.T) {
	r := row{lines: []line{{name: "we", system: ours}, {name: "they", system: "nats"}}}
	some := figures{perCPU.key: 1}
	for _, tt := range []struct {
		of   run
		want bool
	}{
		{run{Line: "we", Figures: some}, true},
		{run{Line: "we", Figures: some, Wrong: "1 missing"}, false},
		{run{Line: "they", Figures: some, Wrong: "1 missing"}, true},
		{run{Line: "they", Wrong: "dead"}, false},
	} {
		if got := r.ok(measurement{Runs: []run{tt.of}}); got != tt.want {
			t.Errorf("%+v: %v", tt.of, got)
		}
	}
}

// program writes a shell script that can be started.
func program(t *testing.T, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// Ensure that what the generator has found stays when it ends with an error, that its
// last line says what was wrong, and that it was told whom to talk to.
func TestGenerate(t *testing.T) {
	b := testBench(t)
	b.fanout = program(t, `for a; do [ "$last" != -json ] || file=$a; last=$a; done
echo '{"seconds": 2, "deliveries": 300, "node_cpu_seconds": 0.5, "generator_cpu_seconds": 1, "publish_to_deliver_ms": {"p50": 3, "p99": 4}, "more": "'"$*"'"}' >"$file"
echo deliveries 300
echo "fanout: missing 2, out of order 0, error replies 10" >&2
exit 1
`)
	s := &stage{bench: b, dir: t.TempDir()}
	var of run
	if _, err := s.talk(t.Context(), server{"plain", "ws://here", []int{11, 12}, anyCore}, &of, load{3, 40, 0}); err != nil {
		t.Fatal(err)
	}
	if of.Figures[perCPU.key] != 600 || of.Figures[p99.key] != 4 || of.Figures[busy.key] != 0.25 || of.Figures[came.key] != 150 {
		t.Errorf("figures %v", of.Figures)
	}
	if of.Wrong != "missing 2, error replies 10" {
		t.Errorf("wrong: %q", of.Wrong)
	}
	var said struct{ More string }
	if err := json.Unmarshal(of.Said, &said); err != nil || !strings.HasPrefix(said.More, "talk -wire plain -url ws://here -pid 11,12 ") || !strings.Contains(said.More, "-rooms 3 -members 40 -rate 0 -window 64 -bytes 64 -duration 1s -warm 250ms") {
		t.Errorf("it was told %q, %v", said.More, err)
	}
	b.fanout = program(t, "echo fanout: nobody is there >&2; exit 1\n")
	s.dir = t.TempDir()
	if _, err := s.talk(t.Context(), server{}, &run{}, load{1, 1, 1}); err == nil || !strings.Contains(err.Error(), "nobody is there") {
		t.Errorf("without figures: %v", err)
	}
}

// Ensure that a stage ends what was started on it, and the children of that, when they
// do not want to; and that it tells what one said that ended by itself.
func TestStage(t *testing.T) {
	s := &stage{bench: testBench(t), dir: t.TempDir()}
	pids := filepath.Join(t.TempDir(), "pids")
	stubborn, err := s.start("stubborn", anyCore, []string{"PIDS=" + pids}, program(t, `trap "" TERM
(trap "" TERM; for i in $(seq 600); do sleep 0.1; done) &
echo $$ $! >"$PIDS.new"; mv "$PIDS.new" "$PIDS"
wait
`))
	if err != nil {
		t.Fatal(err)
	}
	var parent, child int
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if b, err := os.ReadFile(pids); err == nil {
			if _, err := fmt.Sscan(string(b), &parent, &child); err != nil {
				t.Fatal(err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not start")
		}
	}
	short, err := s.start("short", anyCore, nil, program(t, "echo no such thing >&2; exit 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := short.await(t.Context(), "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("awaiting one that ends: %v", err)
	}
	if err := s.died(); err == nil || !strings.Contains(err.Error(), "short has ended: exit status 3") {
		t.Errorf("died = %v", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	<-stubborn.ended
	for _, pid := range []int{parent, child} {
		for deadline := time.Now().Add(30 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d outlives its stage", pid)
			}
		}
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// alive says whether a process runs; one that has ended and whose parent has not asked
// yet does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ") && syscall.Kill(pid, 0) == nil
}

// Ensure that rows that were measured before are kept when another is.
func TestKeep(t *testing.T) {
	b := testBench(t)
	if err := os.MkdirAll(filepath.Join(b.root, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", docFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.root, docFile), text, 0o644); err != nil {
		t.Fatal(err)
	}
	all := invented()
	for _, name := range []string{"closed", "idle", "closed"} {
		if err := b.keep(name, all[name]); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := readResults(filepath.Join(b.root, resultsFile))
	if err != nil || len(kept) != 2 || len(kept["idle"].Runs) != len(all["idle"].Runs) {
		t.Errorf("kept %d rows, %v", len(kept), err)
	}
	for _, file := range []string{"deliveries.svg", "memory.svg"} {
		if _, err := os.Stat(filepath.Join(b.root, plotsDir, file)); err != nil {
			t.Error(err)
		}
	}
}

// Ensure that the configuration with round robin differs from haproxy.cfg in how rooms
// are placed, and in nothing else.
func TestWithoutHash(t *testing.T) {
	b, err := os.ReadFile("../../haproxy/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	got, err := withoutHash(string(b))
	if err != nil {
		t.Fatal(err)
	}
	places := strings.Count(string(b), "balance hash var(txn.room)")
	if strings.Contains(got, "balance hash var(txn.room)") || len(b)-len(got) != places*(len(hashLine)-len("\n    balance roundrobin\n")) {
		t.Errorf("%d bytes of %d are left", len(got), len(b))
	}
	if _, err := withoutHash(got); err == nil {
		t.Error("nothing to replace, and no error")
	}
}

// Ensure that what Redis sends to nodes is counted between two looks, over all nodes,
// for each publication of that time.
func TestCountBridged(t *testing.T) {
	var looks atomic.Int64
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// Before anybody speaks, in the warm-up, at the end.
		at := min((looks.Add(1)-1)/2, 2)
		fmt.Fprintf(w, "# HELP\nchatring_appends_total{x=\"y\"} 9\nchatring_appends_total %d\nchatring_bridge_heard_total %d\n",
			[]int{0, 10, 110}[at], []int{50, 1000, 1250}[at])
	}))
	defer node.Close()
	got, err := countBridged(t.Context(), []string{node.URL, node.URL}, time.Millisecond)
	if err != nil || got != 2.5 {
		t.Errorf("%v messages per publication, %v; want 2.5", got, err)
	}
}

// Ensure that a cluster of NATS is waited for until each node knows the others.
func TestAwaitRoutes(t *testing.T) {
	var looks atomic.Int64
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"num_routes": %d}`, 4*looks.Add(1))
	}))
	defer node.Close()
	if err := awaitRoutes(t.Context(), node.URL, 12); err != nil || looks.Load() != 3 {
		t.Errorf("after %d looks: %v", looks.Load(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := awaitRoutes(ctx, node.URL, 1); err == nil {
		t.Error("too many routes, and no error")
	}
}
