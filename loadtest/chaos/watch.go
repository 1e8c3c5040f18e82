package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A watch looks at the nodes ten times a second, from outside: what they count,
// and how much memory they take. All methods may be called concurrently.
type watch struct {
	cluster *cluster
	play    *play
	client  *http.Client

	// Guarded by mu.
	mu      sync.Mutex
	now     reading
	peak    map[int]int // process of a node → kB at most
	before  reading     // when the fault began
	noticed func(before, now reading) bool
	first   time.Time // when noticed was first true
	states  [nodes]string
	left    []string // what a node said of itself that takes it off the ring
}

// A reading is what the nodes say at one moment, and how the play stands.
type reading struct {
	at       time.Time
	beat     beat
	nodes    map[int]sample // without those that do not answer
	degraded bool           // a node says so of itself
}

// A sample is a node's metrics, by name, and by name and labels as printed.
type sample map[string]float64

const watchEvery = 100 * time.Millisecond

func newWatch(c *cluster, p *play) *watch {
	return &watch{
		cluster: c, play: p, peak: make(map[int]int),
		client: &http.Client{Timeout: 2 * time.Second},
	}
}

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	defer w.client.CloseIdleConnections()
	var asking sync.WaitGroup
	defer asking.Wait()
	for i := range nodes {
		asking.Go(func() { w.askReady(ctx, i+1) })
	}
	ticks := time.NewTicker(watchEvery)
	defer ticks.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

func (w *watch) look(ctx context.Context) {
	now := reading{at: time.Now(), beat: w.play.last(), nodes: make(map[int]sample)}
	var samples [nodes]sample
	var asked sync.WaitGroup
	for i := range nodes {
		asked.Go(func() { samples[i] = w.ask(ctx, i+1) })
	}
	asked.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range samples {
		now.degraded = now.degraded || w.states[i] == "degraded"
		if s != nil {
			now.nodes[i+1] = s
		}
		if pid, err := w.cluster.pid(nodeName(i + 1)); err == nil {
			w.peak[pid] = max(w.peak[pid], memoryOf(pid, "VmHWM:"))
		}
	}
	w.now = now
	if w.noticed != nil && w.first.IsZero() && w.noticed(w.before, now) {
		w.first = now.at
	}
}

// askReady asks a node how it is, until ctx ends.
func (w *watch) askReady(ctx context.Context, i int) {
	for sleep(ctx, 2*watchEvery) {
		status, b := w.get(ctx, "http://"+w.cluster.ops(i)+"/readyz")
		var said struct{ Status string }
		if b == nil || json.Unmarshal(b, &said) != nil {
			continue // it may be dead
		}
		w.mu.Lock()
		w.states[i-1] = said.Status
		if status != http.StatusOK && w.cluster.survived(nodeName(i)) {
			w.left = append(w.left, fmt.Sprintf("node %s said %q", appID(i), said.Status))
		}
		w.mu.Unlock()
	}
}

// unready is what nodes that no fault has ended have said when they did not want to
// be on the ring.
func (w *watch) unready() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left[:min(len(w.left), 3)]
}

func (w *watch) get(ctx context.Context, address string) (status int, body []byte) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

// ask returns a node's metrics, or nil.
func (w *watch) ask(ctx context.Context, i int) sample {
	status, body := w.get(ctx, "http://"+w.cluster.ops(i)+"/metrics")
	if status != http.StatusOK {
		return nil
	}
	return parseMetrics(bytes.NewReader(body))
}

// parseMetrics reads the lines of chatring_…; metrics with labels are there with
// them, and summed without.
func parseMetrics(r io.Reader) sample {
	s := make(sample)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.HasPrefix(name, "chatring_") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		s[name] = v
		if bare, _, labelled := strings.Cut(name, "{"); labelled {
			s[bare] += v
		}
	}
	return s
}

// memoryOf is what a process has resident, in kB: now (VmRSS), or the most so far
// (VmHWM, proc(5)).
func memoryOf(pid int, which string) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(b, []byte(which))
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kB, _ := strconv.Atoi(string(fields[0]))
	return kB
}

// begin is called when the fault is about to begin.
func (w *watch) begin(noticed func(before, now reading) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.noticed = w.now, noticed
}

// latest is the last reading.
func (w *watch) latest() reading {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// noticedAt is when the fault was first seen; zero when it was not.
func (w *watch) noticedAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first
}

// peakOf is the most memory that any node had, in MiB, but for the processes that the
// fault has ended.
func (w *watch) peakOf() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := 0
	for pid, kB := range w.peak {
		if !w.cluster.wasEnded(pid) {
			most = max(most, kB)
		}
	}
	return float64(most) / 1024
}

// rose says whether a counter of some node is higher than before.
func rose(before, now reading, metric string) bool {
	for i, s := range now.nodes {
		if s[metric] > before.nodes[i][metric] {
			return true
		}
	}
	return false
}

// sum is a metric of all nodes.
func (r reading) sum(metric string) (v float64) {
	for _, s := range r.nodes {
		v += s[metric]
	}
	return v
}

// Evidence that something is wrong: each is true from the moment when it can be
// seen from outside.

// bridgeDown is a node that says that it does not hear every room.
func bridgeDown(_, now reading) bool {
	for _, s := range now.nodes {
		if v, ok := s["chatring_bridge_connected"]; ok && v == 0 {
			return true
		}
	}
	return false
}

// interrupted is a bridge that broke, however short.
func interrupted(before, now reading) bool {
	return bridgeDown(before, now) || rose(before, now, "chatring_bridge_interruptions_total")
}

// refusing is a command that was answered with unavailable.
func refusing(before, now reading) bool {
	return rose(before, now, `chatring_errors_total{code="unavailable"}`)
}

// socketsEnded is a client's socket that ended.
func socketsEnded(before, now reading) bool { return now.beat.Ended > before.beat.Ended }

// degraded is a node that says so on /readyz.
func degraded(_, now reading) bool { return now.degraded }

// anyOf joins evidence.
func anyOf(evidence ...func(before, now reading) bool) func(before, now reading) bool {
	return func(before, now reading) bool {
		for _, e := range evidence {
			if e(before, now) {
				return true
			}
		}
		return false
	}
}
