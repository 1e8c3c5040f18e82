package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// idleFigures is what idle found.
type idleFigures struct {
	At          time.Time `json:"at"`
	Connections int       `json:"connections"`
	Rooms       int       `json:"rooms"`
	BeforeKB    int       `json:"rss_before_kb"`
	JoinedKB    int       `json:"rss_joined_kb"`  // right after the last join
	SettledKB   int       `json:"rss_settled_kb"` // after the wait
	EachKB      float64   `json:"kb_per_connection"`
	JoinSeconds float64   `json:"join_seconds"`
	JoinCPU     float64   `json:"node_cpu_ms_per_join"`
	IdleCPU     float64   `json:"node_cpu_share_idle"` // of one CPU, during the wait
}

// idle measures the memory of members that say nothing.
func idle(ctx context.Context, args []string) error {
	f, url, pidList, file := flags("idle")
	n := f.Int("n", 8000, "connections")
	rooms := f.Int("rooms", 800, "rooms over which they are spread")
	wait := f.Duration("wait", 30*time.Second, "how long they stay before memory is read, so that garbage is returned")
	f.Parse(args)
	pids, err := parsePIDs(*pidList)
	if err != nil {
		usageError(f, "%v", err)
	}
	if len(pids) == 0 || *n < 1 || *rooms < 1 || *n%*rooms != 0 {
		usageError(f, "-pid is needed, and -n as a multiple of -rooms")
	}

	r := idleFigures{At: time.Now(), Connections: *n, Rooms: *rooms}
	if r.BeforeKB, err = rssOf(pids); err != nil {
		return err
	}
	before, err := cpuOf(pids)
	if err != nil {
		return err
	}
	c, err := join(ctx, *url, *rooms, *n / *rooms)
	if err != nil {
		return err
	}
	defer c.leave()
	r.JoinSeconds = time.Since(r.At).Seconds()
	joined, err := cpuOf(pids)
	if err != nil {
		return err
	}
	r.JoinCPU = (joined - before) * 1000 / float64(*n)
	if r.JoinedKB, err = rssOf(pids); err != nil {
		return err
	}
	if err := sleep(ctx, *wait); err != nil {
		return err
	}
	if r.SettledKB, err = rssOf(pids); err != nil {
		return err
	}
	settled, err := cpuOf(pids)
	if err != nil {
		return err
	}
	r.IdleCPU = (settled - joined) / wait.Seconds()
	r.EachKB = float64(r.SettledKB-r.BeforeKB) / float64(*n)
	if err := c.broken(); err != nil {
		return err
	}
	fmt.Printf("connections            %d in %d rooms, joined in %.1f s, %.2f ms of the node's CPU each\n", r.Connections, r.Rooms, r.JoinSeconds, r.JoinCPU)
	fmt.Printf("resident               %d kB before, %d kB joined, %d kB after %s\n", r.BeforeKB, r.JoinedKB, r.SettledKB, wait)
	fmt.Printf("per connection         %.2f kB\n", r.EachKB)
	fmt.Printf("idle                   %.1f %% of a CPU\n", 100*r.IdleCPU)
	if r.EachKB <= 0 {
		return errors.New("the node did not grow: is -pid the node of -url?")
	}
	return write(*file, r)
}
