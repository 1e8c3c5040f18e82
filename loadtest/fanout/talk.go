package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/chatring/chatring/loadtest/proc"
)

// talkFigures is what talk found, over the measured interval.
type talkFigures struct {
	At         time.Time `json:"at"`
	URL        string    `json:"url"`
	Wire       string    `json:"wire"`
	Rooms      int       `json:"rooms"`
	Members    int       `json:"members_per_room"`
	Publishers int       `json:"publishers_per_room"`
	SSE        bool      `json:"sse"`    // members that do not speak listen to server-sent events
	Rate       float64   `json:"rate"`   // messages per second, in all; 0: closed loop
	Window     int       `json:"window"` // closed loop: messages not heard by all, per room
	Size       int       `json:"bytes"`  // of data
	Seconds    float64   `json:"seconds"`

	Messages   int64      `json:"messages"`
	Deliveries int64      `json:"deliveries"`
	PerSecond  float64    `json:"deliveries_per_second"`
	NodeCPU    float64    `json:"node_cpu_seconds,omitempty"` // of all processes
	PerCPU     float64    `json:"deliveries_per_node_cpu_second,omitempty"`
	Processes  []proc.Use `json:"processes,omitempty"`
	OwnCPU     float64    `json:"generator_cpu_seconds"`
	OwnPerCPU  float64    `json:"deliveries_per_generator_cpu_second"`
	Threads    int        `json:"generator_threads"`
	CPUs       int        `json:"cpus"`

	Deliver latency `json:"publish_to_deliver_ms"`
	Ack     latency `json:"acknowledgement_ms"`

	audit
}

// latency is a distribution, in milliseconds.
type latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func latencyOf(d []time.Duration) latency {
	if len(d) == 0 {
		return latency{}
	}
	slices.Sort(d)
	at := func(share float64) float64 { return float64(d[int(share*float64(len(d)-1))].Microseconds()) / 1000 }
	return latency{len(d), at(0.5), at(0.99), at(1)}
}

// A talker says messages in the rooms of one loop, in turn: to a rate, or as
// many as are heard.
type talker struct {
	listener
	*loop
	publishers int
	size       int
	window     int64
	every      time.Duration // between two messages; 0: closed loop
	next       due           // of the next message; before the run, behind its begin
	turns      int           // rooms that had their turn
	all        []*room
	rooms      []*stage
	id         uint64
}

// A stage is a room in which is talked.
type stage struct {
	*room
	said   int64
	low    int64 // every member has heard as many
	least  int64 // of those members that were asked since low last rose
	asking int   // the first of those that were not
}

// talk measures deliveries.
func talk(ctx context.Context, args []string, out io.Writer) error {
	f, t := flags("talk", out)
	rooms := f.Int("rooms", 1, "rooms")
	members := f.Int("members", 1000, "members of each room")
	publishers := f.Int("publishers", 16, "members of each room that speak, in turn: a node runs one session's commands one by one")
	rate := f.Float64("rate", 0, "messages per second in all (0: closed loop, as many as are heard)")
	window := f.Int64("window", 64, "closed loop: messages of a room that not every member has heard yet")
	sse := f.Bool("sse", false, "members that do not speak listen to server-sent events (chatring)")
	t.sized(f)
	t.settled(f)
	rest := f.Duration("rest", 500*time.Millisecond, "how long to wait between the last join and the first message: several nodes may tell each other of a join once it is answered")
	warm := f.Duration("warm", 2*time.Second, "how long to talk before measuring")
	duration := f.Duration("duration", 10*time.Second, "how long to measure")
	samples := f.Int("samples", 32, "members of each room that time their deliveries")
	if err := t.parse(f, args); err != nil {
		return err
	}
	switch {
	case *rooms < 1 || *members < 1 || *publishers < 1 || *window < 1 || *rate < 0 || *samples < 0:
		return misuse("-rooms, -members, -publishers and -window are at least 1, -rate and -samples at least 0")
	case *sse && t.name != "chatring":
		return misuse("-sse is for -wire chatring")
	case *publishers > maxPublishers:
		return misuse("-publishers is at most %d", maxPublishers)
	}

	c, err := newCrowd(t, *rooms, *members)
	if err != nil {
		return err
	}
	defer c.end()
	for _, r := range c.rooms {
		for _, m := range r.members {
			m.stream = *sse && m.place >= *publishers
		}
		// Spread over the room: those that joined first are served first.
		for i := range *samples {
			r.members[i*len(r.members)/(*samples)].sample = true
		}
	}
	if err := c.join(ctx); err != nil {
		return err
	}
	if err := c.idle(ctx, *rest); err != nil {
		return err
	}
	r := &talkFigures{
		At: time.Now(), URL: t.url, Wire: t.name, Rooms: *rooms, Members: *members, Publishers: min(*publishers, *members), SSE: *sse,
		Rate: *rate, Size: t.size, Threads: len(c.loops), CPUs: runtime.NumCPU(),
	}
	if *rate == 0 {
		r.Window = int(*window)
	}
	if err := r.measure(ctx, c, t, *warm, *duration); err != nil {
		return err
	}
	r.print(out)
	if err := write(t.file, r); err != nil {
		return err
	}
	if r.Deliveries == 0 {
		return errors.New("nothing was delivered")
	}
	return r.audit.err()
}

// measure talks, and takes the figures of the interval after the warm-up.
func (r *talkFigures) measure(ctx context.Context, c *crowd, t *target, warm, duration time.Duration) error {
	p := &phase{settle: t.settle}
	talkers := map[*loop]*talker{}
	for i, l := range c.loops {
		talkers[l] = newTalker(l, c.of[l], r, p)
		talkers[l].next = talkers[l].every * time.Duration(i) / time.Duration(len(c.loops))
	}
	s, err := t.measure(ctx, c, p, warm, duration, c.deliveries, func(ctx context.Context, l *loop) error { return talkers[l].run(ctx) })
	if err != nil {
		return err
	}
	r.Seconds, r.Deliveries, r.Processes, r.OwnCPU = s.seconds, s.count, s.uses, s.own
	r.Messages = r.Deliveries / int64(r.Members)
	r.PerSecond = float64(r.Deliveries) / r.Seconds
	r.NodeCPU = proc.Total(s.uses)
	r.PerCPU = perSecond(r.Deliveries, r.NodeCPU)
	r.OwnPerCPU = perSecond(r.Deliveries, r.OwnCPU)
	var deliver, ack []time.Duration
	for l, t := range talkers {
		r.audit.add(&t.listener, c.of[l])
		deliver = append(deliver, t.times...)
		ack = append(ack, t.ackTimes...)
	}
	r.Deliver, r.Ack = latencyOf(deliver), latencyOf(ack)
	return nil
}

func newTalker(l *loop, rooms []*room, r *talkFigures, p *phase) *talker {
	t := &talker{
		listener: newListener(p),
		loop:     l, all: rooms, publishers: r.Publishers, size: r.Size, window: int64(r.Window),
	}
	for _, room := range rooms {
		t.rooms = append(t.rooms, &stage{room: room, least: math.MaxInt64})
	}
	if r.Rate > 0 {
		share := r.Rate * float64(len(rooms)) / float64(r.Rooms)
		t.every = max(time.Duration(float64(time.Second)/share), 1)
	}
	return t
}

// Beats, for members that are set aside. With a longer one in the open loop,
// much would come to a socket before it is read, so that the kernel acknowledges
// it while the server writes, at the server's cost and no longer at ours. In the
// closed loop the room waits for all its members, so that a longer one would make
// it speak in bursts.
const (
	openBeat   = 10 * time.Millisecond
	closedBeat = 2 * time.Millisecond
)

// finest is the shortest time to which a talker sleeps. What is due within it is
// said at once.
const finest = 200 * time.Microsecond

// run talks until it is hushed, and then waits for what is under way.
func (t *talker) run(ctx context.Context) error {
	t.ear = &t.listener
	beat := openBeat
	if t.every == 0 {
		beat = closedBeat
	}
	if err := t.setAside(t.untimed(), beat); err != nil {
		return err
	}
	t.next += now()
	if t.every > 0 {
		if _, err := t.tick(max(t.every, finest)); err != nil {
			return err
		}
	}
	for !t.phase.hushed.Load() {
		t.speak()
		if err := t.listen(ctx, t.loop); err != nil {
			return err
		}
	}
	return t.await(ctx, t.loop, func() bool { return missing(t.all) == 0 })
}

// untimed are the members that time neither deliveries nor acknowledgements.
func (t *talker) untimed() []*member {
	return slices.DeleteFunc(members(t.all), func(m *member) bool { return m.sample || m.place < t.publishers })
}

// speak says what is due.
func (t *talker) speak() {
	if t.every > 0 {
		for at := now(); t.next <= at; t.next += t.every {
			t.say(t.rooms[t.turns%len(t.rooms)], t.next)
			t.turns++
		}
		return
	}
	for _, r := range t.rooms {
		for free := t.window - (r.said - r.slowest()); free > 0; free-- {
			t.say(r, now())
		}
	}
}

// say says a message; the publishers of a room take turns.
func (t *talker) say(r *stage, at due) {
	t.id++
	if t.traits.acks {
		t.due[t.id] = at
	}
	t.publish(r.members[int(r.said)%t.publishers], t.id, at, t.size)
	r.said++
}

// slowest is how many messages every member of the room has heard. It goes on
// with the member that kept it from rising, so that asking often costs little.
func (r *stage) slowest() int64 {
	for h := r.members[r.asking].heard; h > r.low; h = r.members[r.asking].heard {
		r.least = min(r.least, h)
		r.asking++
		if r.asking == len(r.members) {
			r.low, r.least, r.asking = r.least, math.MaxInt64, 0
		}
	}
	return r.low
}

func (r *talkFigures) print(out io.Writer) {
	how := fmt.Sprintf("%.0f messages/s", r.Rate)
	if r.Rate == 0 {
		how = fmt.Sprintf("closed loop, window %d", r.Window)
	}
	wire := r.Wire
	if r.SSE {
		wire += ", the others over SSE"
	}
	fmt.Fprintf(out, "load                   %d rooms of %d members, %d of them speak; %d bytes; %s; %s\n", r.Rooms, r.Members, r.Publishers, r.Size, how, wire)
	fmt.Fprintf(out, "deliveries             %d in %.1f s: %.0f/s, of %.0f messages/s\n", r.Deliveries, r.Seconds, r.PerSecond, float64(r.Messages)/r.Seconds)
	if r.NodeCPU > 0 {
		fmt.Fprintf(out, "node                   %.2f CPU seconds (%.0f %% of a CPU): %.0f deliveries per CPU second\n", r.NodeCPU, 100*r.NodeCPU/r.Seconds, r.PerCPU)
		printShares(out, r.Processes)
	}
	fmt.Fprintf(out, "this program           %.2f CPU seconds, on the same %d CPUs: %.0f deliveries per CPU second\n", r.OwnCPU, r.CPUs, r.OwnPerCPU)
	fmt.Fprintf(out, "publish → deliver      p50 %.2f ms, p99 %.2f ms, max %.2f ms (%d samples)\n", r.Deliver.P50, r.Deliver.P99, r.Deliver.Max, r.Deliver.Count)
	if r.Ack.Count > 0 {
		fmt.Fprintf(out, "acknowledgement        p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", r.Ack.P50, r.Ack.P99, r.Ack.Max)
	}
	fmt.Fprintln(out, r.audit)
}
