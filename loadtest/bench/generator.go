package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A use is the processor time of one process in the measured interval, in seconds.
type use struct {
	Name   string  `json:"name"`
	User   float64 `json:"user_seconds"`
	System float64 `json:"system_seconds"`
}

// A talked is what the generator's verb talk has found, as far as it is needed here.
type talked struct {
	Seconds    float64 `json:"seconds"`
	Deliveries float64 `json:"deliveries"`
	CPU        float64 `json:"node_cpu_seconds"`
	OwnCPU     float64 `json:"generator_cpu_seconds"`
	Processes  []use   `json:"processes"`
	Deliver    struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
	} `json:"publish_to_deliver_ms"`
}

// generate runs a verb of the generator against a server, and decodes what it has
// measured. What it has found amiss while it measured stands in the run.
func (s *stage) generate(ctx context.Context, to server, of *run, found any, verb string, args ...string) error {
	var pids []string
	for _, pid := range to.pids {
		pids = append(pids, strconv.Itoa(pid))
	}
	file := s.file(verb + ".json")
	command := append([]string{s.fanout, verb, "-wire", to.wire, "-url", to.url, "-pid", strings.Join(pids, ","), "-json", file}, args...)
	command = pinned(to.core, command)
	s.typed(nil, command)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	said, failed := cmd.CombinedOutput()
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("fanout %s: %w\n%s", verb, errors.Join(failed, ctx.Err()), tail(string(said)))
	}
	if failed != nil { // it measured, and then
		of.Wrong = complaint(string(said))
	}
	if err := json.Unmarshal(b, &of.Said); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	if err := json.Unmarshal(b, found); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

// complaint is what the generator says at its end, without what is 0 of it.
func complaint(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	parts := strings.Split(strings.TrimPrefix(lines[len(lines)-1], "fanout: "), ", ")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return strings.HasSuffix(p, " 0") }), ", ")
}

// perPart adds what each part of a cluster has used, in microseconds for each of n.
func (f figures) perPart(uses []use, n float64, nodes, proxy, redis metric) {
	f[nodes.key], f[proxy.key] = 0, 0
	for _, u := range uses {
		key := nodes.key
		switch u.Name {
		case "haproxy":
			key = proxy.key
		case "redis-server":
			key = redis.key
		}
		f[key] += 1e6 * (u.User + u.System) / n
	}
}

// talk has members speak.
func (s *stage) talk(ctx context.Context, to server, of *run, l load) (talked, error) {
	var found talked
	args := append(l.in(s.options).args(), "-duration", s.duration.String(), "-warm", s.warm().String())
	if err := s.generate(ctx, to, of, &found, "talk", args...); err != nil {
		return found, err
	}
	if found.CPU == 0 || found.Deliveries == 0 {
		return found, errors.New("nothing was delivered, or too little to measure")
	}
	of.Figures = figures{
		perCPU.key: found.Deliveries / found.CPU, all.key: 1e6 * found.CPU / found.Deliveries,
		came.key: found.Deliveries / found.Seconds,
		p50.key:  found.Deliver.P50, p99.key: found.Deliver.P99,
		busy.key: found.CPU / found.Seconds, ownBusy.key: found.OwnCPU / found.Seconds,
	}
	return found, nil
}

// warm is how long members speak before anything is measured.
func (s *stage) warm() time.Duration { return s.duration / 4 }
