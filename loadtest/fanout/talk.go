package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// talkFigures is what talk found, over the measured interval.
type talkFigures struct {
	At         time.Time `json:"at"`
	URL        string    `json:"url"`
	Rooms      int       `json:"rooms"`
	Members    int       `json:"members_per_room"`
	Publishers int       `json:"publishers_per_room"`
	Rate       float64   `json:"rate"`   // messages per second, in all; 0: closed loop
	Window     int       `json:"window"` // closed loop: messages not heard by all, per room
	Size       int       `json:"bytes"`  // of data
	Seconds    float64   `json:"seconds"`

	Messages   int64   `json:"messages"`
	Deliveries int64   `json:"deliveries"`
	PerSecond  float64 `json:"deliveries_per_second"`
	NodeCPU    float64 `json:"node_cpu_seconds,omitempty"`
	PerCPU     float64 `json:"deliveries_per_node_cpu_second,omitempty"`
	OwnCPU     float64 `json:"generator_cpu_seconds"`
	CPUs       int     `json:"cpus"`

	Deliver latency `json:"publish_to_deliver_ms"`
	Ack     latency `json:"acknowledgement_ms"`

	// Over the whole run, warm-up included: each must be 0.
	Missing    int64 `json:"missing"`
	Disordered int   `json:"out_of_order"`
	Errors     int   `json:"error_replies"`
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

// talker is what says messages: to a rate, or as many as are heard.
type talker struct {
	*crowd
	publishers int
	size       int
	window     int64
	rate       float64
	id         uint64
}

// talk measures deliveries.
func talk(ctx context.Context, args []string) error {
	f, url, pidList, file := flags("talk")
	rooms := f.Int("rooms", 1, "rooms")
	members := f.Int("members", 1000, "members of each room")
	publishers := f.Int("publishers", 16, "members of each room that speak, in turn: a node runs one session's commands one by one")
	rate := f.Float64("rate", 0, "messages per second in all (0: closed loop, as many as are heard)")
	window := f.Int64("window", 64, "closed loop: messages of a room that not every member has heard yet")
	size := f.Int("bytes", 64, "bytes of data in each message")
	warm := f.Duration("warm", 2*time.Second, "how long to talk before measuring")
	duration := f.Duration("duration", 10*time.Second, "how long to measure")
	samples := f.Int("samples", 32, "members of each room that time their deliveries")
	f.Parse(args)
	pids, err := parsePIDs(*pidList)
	if err != nil {
		usageError(f, "%v", err)
	}
	if *rooms < 1 || *members < 1 || *publishers < 1 || *rate < 0 || *window < 1 {
		usageError(f, "-rooms, -members, -publishers and -window are at least 1, -rate at least 0")
	}

	c, err := join(ctx, *url, *rooms, *members)
	if err != nil {
		return err
	}
	defer c.leave()
	for _, r := range c.rooms {
		// Spread over the room: those that joined first are served first.
		for i := 0; i < *samples; i++ {
			r.members[i*len(r.members)/(*samples)].sample = true
		}
	}
	t := &talker{crowd: c, publishers: min(*publishers, *members), size: *size, window: *window, rate: *rate}
	r := talkFigures{
		At: time.Now(), URL: *url, Rooms: *rooms, Members: *members, Publishers: t.publishers,
		Rate: *rate, Size: *size, CPUs: runtime.NumCPU(),
	}
	if *rate == 0 {
		r.Window = int(*window)
	}
	if err := t.run(ctx, &r, pids, *warm, *duration); err != nil {
		return err
	}
	t.finish(ctx, &r)
	r.print()
	if err := write(*file, r); err != nil {
		return err
	}
	switch {
	case r.Missing > 0 || r.Disordered > 0 || r.Errors > 0:
		return fmt.Errorf("%d missing, %d out of order, %d error replies", r.Missing, r.Disordered, r.Errors)
	case r.Deliveries == 0:
		return errors.New("nothing was delivered")
	}
	return c.broken()
}

// run talks, and takes the figures of the interval after the warm-up.
func (t *talker) run(ctx context.Context, r *talkFigures, pids []int, warm, duration time.Duration) error {
	talking, hush := context.WithCancel(ctx)
	said := make(chan error, 1)
	go func() { said <- t.speak(talking) }()
	var node0, node1 float64
	err := sleep(ctx, warm)
	if err == nil {
		node0, err = cpuOf(pids)
	}
	heard, own, begun := t.heard(), ownCPU(), time.Now()
	t.measuring.Store(true)
	if err == nil {
		err = sleep(ctx, duration)
	}
	t.measuring.Store(false)
	r.Deliveries, r.OwnCPU, r.Seconds = t.heard()-heard, ownCPU()-own, time.Since(begun).Seconds()
	if err == nil {
		node1, err = cpuOf(pids)
	}
	hush()
	if e := <-said; err == nil && e != nil {
		err = e
	}
	r.Messages = r.Deliveries / int64(r.Members)
	r.PerSecond = float64(r.Deliveries) / r.Seconds
	if r.NodeCPU = node1 - node0; r.NodeCPU > 0 {
		r.PerCPU = float64(r.Deliveries) / r.NodeCPU
	}
	return err
}

// speak says messages until ctx ends.
func (t *talker) speak(ctx context.Context) error {
	begun := time.Now()
	for total := int64(0); ctx.Err() == nil; {
		spoke := false
		if t.rate > 0 {
			for due := int64(time.Since(begun).Seconds() * t.rate); total < due; total++ {
				if err := t.say(t.rooms[total%int64(len(t.rooms))]); err != nil {
					return err
				}
			}
		} else {
			for _, r := range t.rooms {
				for free := t.window - (r.said - r.slowest()); free > 0; free-- {
					spoke = true
					if err := t.say(r); err != nil {
						return err
					}
				}
			}
		}
		if err := t.broken(); err != nil {
			return err
		}
		if !spoke {
			time.Sleep(200 * time.Microsecond)
		}
	}
	return nil
}

func (t *talker) say(r *room) error {
	t.id++
	speaker := r.members[int(r.said)%t.publishers]
	r.said++
	return speaker.publish(t.id, r.name, t.size)
}

// finish waits for what is under way, and counts over the whole run.
func (t *talker) finish(ctx context.Context, r *talkFigures) {
	missing := func() (n int64) {
		for _, room := range t.rooms {
			for _, m := range room.members {
				n += room.said - m.heard.Load()
			}
		}
		return n
	}
	for end := time.Now().Add(5 * time.Second); missing() > 0 && time.Now().Before(end); {
		if sleep(ctx, 10*time.Millisecond) != nil {
			break
		}
	}
	r.Missing = missing()
	if err := t.broken(); err != nil {
		fmt.Println("broken                ", err)
	}
	t.leave() // ends the readers, so that what they own can be read
	var deliver, ack []time.Duration
	for _, m := range t.members {
		r.Disordered += m.disordered
		r.Errors += m.errors
		deliver = append(deliver, m.times...)
		ack = append(ack, m.ackTimes...)
	}
	r.Deliver, r.Ack = latencyOf(deliver), latencyOf(ack)
}

func (r *talkFigures) print() {
	how := fmt.Sprintf("%.0f messages/s", r.Rate)
	if r.Rate == 0 {
		how = fmt.Sprintf("closed loop, window %d", r.Window)
	}
	fmt.Printf("load                   %d rooms of %d members, %d of them speak; %d bytes; %s\n", r.Rooms, r.Members, r.Publishers, r.Size, how)
	fmt.Printf("deliveries             %d in %.1f s: %.0f/s, of %.0f messages/s\n", r.Deliveries, r.Seconds, r.PerSecond, float64(r.Messages)/r.Seconds)
	if r.NodeCPU > 0 {
		fmt.Printf("node                   %.2f CPU seconds (%.0f %% of a CPU): %.0f deliveries per CPU second\n", r.NodeCPU, 100*r.NodeCPU/r.Seconds, r.PerCPU)
	}
	fmt.Printf("this program           %.2f CPU seconds, on the same %d CPUs\n", r.OwnCPU, r.CPUs)
	fmt.Printf("publish → deliver      p50 %.2f ms, p99 %.2f ms, max %.2f ms (%d samples)\n", r.Deliver.P50, r.Deliver.P99, r.Deliver.Max, r.Deliver.Count)
	fmt.Printf("acknowledgement        p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", r.Ack.P50, r.Ack.P99, r.Ack.Max)
	fmt.Printf("missing %d, out of order %d, error replies %d\n", r.Missing, r.Disordered, r.Errors)
}
