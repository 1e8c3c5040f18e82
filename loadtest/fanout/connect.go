package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/chatring/chatring/loadtest/proc"
)

// connectFigures is what connect found, over the measured interval.
type connectFigures struct {
	At        time.Time  `json:"at"`
	URL       string     `json:"url"`
	Wire      string     `json:"wire"`
	Rooms     int        `json:"rooms"`
	Parallel  int        `json:"parallel"`
	Tokens    int        `json:"tokens"`
	Seconds   float64    `json:"seconds"`
	Upgrades  int64      `json:"upgrades"`
	PerSecond float64    `json:"upgrades_per_second"`
	NodeCPU   float64    `json:"node_cpu_seconds,omitempty"`
	PerCPU    float64    `json:"upgrades_per_node_cpu_second,omitempty"`
	Processes []proc.Use `json:"processes,omitempty"`
	OwnCPU    float64    `json:"generator_cpu_seconds"`
	Joined    latency    `json:"connect_to_joined_ms"`
	Errors    int64      `json:"errors"`
	Error     string     `json:"first_error,omitempty"`
}

// A connector keeps as many sockets as it has members on their way: each
// connects, joins, and is closed.
type connector struct {
	idler
	*loop
	phase  *phase
	ready  []*member // to be dialed
	joins  atomic.Int64
	errors int64
	times  []time.Duration
}

func (c *connector) joined(m *member, _ *note) {
	c.joins.Add(1)
	if c.phase.measuring.Load() {
		c.times = append(c.times, now()-m.dialed)
	}
	c.close(m)
	c.ready = append(c.ready, m)
}

func (c *connector) lost(m *member, err error) {
	c.idler.lost(m, err)
	c.errors++
	c.ready = append(c.ready, m)
}

// run connects until it is hushed. It gives up when nothing but errors comes.
func (c *connector) run(ctx context.Context) error {
	c.ear = c
	for !c.phase.hushed.Load() {
		ready := c.ready
		c.ready = nil
		for _, m := range ready {
			c.dial(m)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case c.errors >= 100 && c.joins.Load() == 0:
			return fmt.Errorf("%d errors, and nobody joined: %w", c.errors, c.failed)
		}
		if err := c.turn(longTurn); err != nil {
			return err
		}
	}
	return nil
}

// connect measures what it costs to come in.
func connect(ctx context.Context, args []string, out io.Writer) error {
	f, t := flags("connect", out)
	rooms := f.Int("rooms", 64, "rooms that are joined; each has one member who stays")
	parallel := f.Int("parallel", 64, "sockets that are on their way at a time")
	warm := f.Duration("warm", time.Second, "how long to connect before measuring")
	duration := f.Duration("duration", 10*time.Second, "how long to measure")
	if err := t.parse(f, args); err != nil {
		return err
	}
	if *rooms < 1 || *parallel < 1 {
		return misuse("-rooms and -parallel are at least 1")
	}
	c, err := newCrowd(t, *rooms, 1)
	if err != nil {
		return err
	}
	defer c.end()
	if err := c.join(ctx); err != nil {
		return err
	}
	r := &connectFigures{At: time.Now(), URL: t.url, Wire: t.name, Rooms: *rooms, Parallel: *parallel, Tokens: len(t.tokens)}
	if err := r.measure(ctx, c, t, *warm, *duration); err != nil {
		return err
	}
	r.print(out)
	if err := write(t.file, r); err != nil {
		return err
	}
	switch {
	case r.Errors > 0:
		return fmt.Errorf("%d errors: %s", r.Errors, r.Error)
	case r.Upgrades == 0:
		return errors.New("nobody joined")
	}
	return nil
}

func (r *connectFigures) measure(ctx context.Context, c *crowd, t *target, warm, duration time.Duration) error {
	p := &phase{}
	connectors := map[*loop]*connector{}
	for _, l := range c.loops {
		connectors[l] = &connector{loop: l, phase: p}
	}
	for i := range r.Parallel {
		l, rooms := c.loops[i%len(c.loops)], c.of[c.loops[i%len(c.loops)]]
		m := &member{room: rooms[i/len(c.loops)%len(rooms)], user: fmt.Sprintf("user%d", 1+i), fd: -1}
		connectors[l].ready = append(connectors[l].ready, m)
	}
	joins := func() (n int64) {
		for _, c := range connectors {
			n += c.joins.Load()
		}
		return n
	}
	s, err := t.measure(ctx, c, p, warm, duration, joins, func(ctx context.Context, l *loop) error { return connectors[l].run(ctx) })
	if err != nil {
		return err
	}
	r.Seconds, r.Upgrades, r.Processes, r.OwnCPU, r.NodeCPU = s.seconds, s.count, s.uses, s.own, proc.Total(s.uses)
	r.PerSecond = perSecond(r.Upgrades, r.Seconds)
	r.PerCPU = perSecond(r.Upgrades, r.NodeCPU)
	var times []time.Duration
	for _, c := range connectors {
		times = append(times, c.times...)
		r.Errors += c.errors
		if c.failed != nil {
			r.Error = c.failed.Error()
		}
	}
	r.Joined = latencyOf(times)
	return nil
}

func (r *connectFigures) print(out io.Writer) {
	fmt.Fprintf(out, "load                   %d sockets at a time, %d rooms; %d tokens; %s\n", r.Parallel, r.Rooms, r.Tokens, r.Wire)
	fmt.Fprintf(out, "upgrades               %d in %.1f s: %.0f/s\n", r.Upgrades, r.Seconds, r.PerSecond)
	if r.NodeCPU > 0 {
		fmt.Fprintf(out, "node                   %.2f CPU seconds (%.0f %% of a CPU): %.0f upgrades per CPU second\n", r.NodeCPU, 100*r.NodeCPU/r.Seconds, r.PerCPU)
		printShares(out, r.Processes)
	}
	fmt.Fprintf(out, "this program           %.2f CPU seconds: %.0f upgrades per CPU second\n", r.OwnCPU, perSecond(r.Upgrades, r.OwnCPU))
	fmt.Fprintf(out, "connect → joined       p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", r.Joined.P50, r.Joined.P99, r.Joined.Max)
	fmt.Fprintf(out, "errors                 %d %s\n", r.Errors, r.Error)
}
