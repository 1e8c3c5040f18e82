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

// publishFigures is what publish found, over the measured interval.
type publishFigures struct {
	At        time.Time    `json:"at"`
	URL       string       `json:"url"`
	Wire      string       `json:"wire"`
	Sessions  int          `json:"sessions"`
	Rooms     int          `json:"rooms"`
	Window    int          `json:"window"` // of each session
	Size      int          `json:"bytes"`
	Seconds   float64      `json:"seconds"`
	Acked     int64        `json:"acknowledged"`
	PerSecond float64      `json:"acknowledged_per_second"`
	NodeCPU   float64      `json:"node_cpu_seconds,omitempty"` // of all processes
	PerCPU    float64      `json:"acknowledged_per_node_cpu_second,omitempty"`
	Processes []publishUse `json:"processes,omitempty"`
	OwnCPU    float64      `json:"generator_cpu_seconds"`
	Ack       latency      `json:"acknowledgement_ms"`

	audit
}

// A publishUse is what one process used, and what that comes to.
type publishUse struct {
	proc.Use
	PerCPU float64 `json:"acknowledged_per_cpu_second"`
}

// A publisher has the members of one loop publish in a closed loop: each has as
// many messages under way as the window says.
type publisher struct {
	listener
	*loop
	window int
	size   int
	id     uint64
	rooms  []*room
	acked  atomic.Int64
}

func (p *publisher) say(m *member) {
	p.id++
	p.due[p.id] = now()
	p.publish(m, p.id, p.due[p.id], p.size)
}

func (p *publisher) reply(m *member, n *note) {
	p.listener.reply(m, n)
	if !n.failed {
		p.acked.Add(1)
	}
	if !p.phase.hushed.Load() {
		p.say(m)
	}
}

// run publishes until it is hushed, and then waits for what is under way.
func (p *publisher) run(ctx context.Context) error {
	p.ear = p
	for _, m := range members(p.rooms) {
		for range p.window {
			p.say(m)
		}
	}
	for !p.phase.hushed.Load() {
		if err := p.listen(ctx, p.loop); err != nil {
			return err
		}
	}
	return p.await(ctx, p.loop, func() bool { return len(p.due) == 0 && missing(p.rooms) == 0 })
}

// publish measures acknowledgements.
func publish(ctx context.Context, args []string, out io.Writer) error {
	f, t := flags("publish", out)
	sessions := f.Int("sessions", 256, "sessions that publish")
	rooms := f.Int("rooms", 0, "rooms over which they are spread (0: a room for each)")
	window := f.Int("window", 16, "messages of a session that are not answered")
	t.sized(f)
	t.settled(f)
	warm := f.Duration("warm", 2*time.Second, "how long to publish before measuring")
	duration := f.Duration("duration", 10*time.Second, "how long to measure")
	if err := t.parse(f, args); err != nil {
		return err
	}
	if *rooms == 0 {
		*rooms = *sessions
	}
	switch {
	case !t.wire.traits().acks:
		return misuse("-wire %s has no acknowledgements", t.name)
	case *sessions < 1 || *rooms < 1 || *sessions%*rooms != 0 || *window < 1:
		return misuse("-sessions is a multiple of -rooms, -window at least 1")
	}
	c, err := newCrowd(t, *rooms, *sessions / *rooms)
	if err != nil {
		return err
	}
	defer c.end()
	if err := c.join(ctx); err != nil {
		return err
	}
	r := &publishFigures{At: time.Now(), URL: t.url, Wire: t.name, Sessions: *sessions, Rooms: *rooms, Window: *window, Size: t.size}
	if err := r.measure(ctx, c, t, *warm, *duration); err != nil {
		return err
	}
	r.print(out)
	if err := write(t.file, r); err != nil {
		return err
	}
	if r.Acked == 0 {
		return errors.New("nothing was acknowledged")
	}
	return r.audit.err()
}

func (r *publishFigures) measure(ctx context.Context, c *crowd, t *target, warm, duration time.Duration) error {
	p := &phase{settle: t.settle}
	publishers := map[*loop]*publisher{}
	for _, l := range c.loops {
		publishers[l] = &publisher{listener: newListener(p), loop: l, window: r.Window, size: r.Size, rooms: c.of[l]}
	}
	acked := func() (n int64) {
		for _, p := range publishers {
			n += p.acked.Load()
		}
		return n
	}
	s, err := t.measure(ctx, c, p, warm, duration, acked, func(ctx context.Context, l *loop) error { return publishers[l].run(ctx) })
	if err != nil {
		return err
	}
	r.Seconds, r.Acked, r.OwnCPU, r.NodeCPU = s.seconds, s.count, s.own, proc.Total(s.uses)
	r.PerSecond = perSecond(r.Acked, r.Seconds)
	r.PerCPU = perSecond(r.Acked, r.NodeCPU)
	for _, u := range s.uses {
		r.Processes = append(r.Processes, publishUse{u, perSecond(r.Acked, u.User+u.System)})
	}
	var times []time.Duration
	for l, p := range publishers {
		r.audit.add(&p.listener, c.of[l])
		times = append(times, p.ackTimes...)
	}
	r.Ack = latencyOf(times)
	return nil
}

func (r *publishFigures) print(out io.Writer) {
	fmt.Fprintf(out, "load                   %d sessions in %d rooms, %d messages of each under way; %d bytes; %s\n", r.Sessions, r.Rooms, r.Window, r.Size, r.Wire)
	fmt.Fprintf(out, "acknowledged           %d in %.1f s: %.0f/s\n", r.Acked, r.Seconds, r.PerSecond)
	for _, u := range r.Processes {
		fmt.Fprintf(out, "%-22s %.2f CPU seconds (%.2f user, %.2f system): %.0f acknowledged per CPU second\n", u.Name, u.User+u.System, u.User, u.System, u.PerCPU)
	}
	fmt.Fprintf(out, "this program           %.2f CPU seconds: %.0f acknowledged per CPU second\n", r.OwnCPU, perSecond(r.Acked, r.OwnCPU))
	fmt.Fprintf(out, "acknowledgement        p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", r.Ack.P50, r.Ack.P99, r.Ack.Max)
	fmt.Fprintln(out, r.audit)
}
