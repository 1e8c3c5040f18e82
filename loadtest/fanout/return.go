package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/chatring/chatring/loadtest/proc"
)

// returnFigures is what return found.
type returnFigures struct {
	At       time.Time `json:"at"`
	URL      string    `json:"url"`
	Members  int       `json:"members"`
	Rooms    int       `json:"rooms"`
	Parallel int       `json:"parallel"`
	Rounds   int       `json:"rounds"`
	Missed   int       `json:"missed"`
	Size     int       `json:"bytes"`

	Recovered  errands `json:"return_after_missing"`
	UpToDate   errands `json:"return_up_to_date"`
	Difference float64 `json:"node_cpu_us_of_recovery"` // the difference
	History    errands `json:"history"`
}

// errands is what one kind of command costs.
type errands struct {
	Count     int64      `json:"count"`
	Messages  int        `json:"messages_each"`
	Seconds   float64    `json:"seconds"`
	NodeCPU   float64    `json:"node_cpu_seconds"`
	EachCPU   float64    `json:"node_cpu_us_each"`
	Processes []proc.Use `json:"processes"`
	OwnCPU    float64    `json:"generator_cpu_seconds"`
}

// mostHistory is how many messages an answer to history has at most
// (docs/protocol.md), unless they are long.
const mostHistory = 256

// A caller has the members of one loop do an errand again and again: each says
// its commands, waits until all has come that is owed, and stands at the end of
// the queue.
type caller struct {
	idler
	*loop
	waiting  []*member
	begun    int
	done     int
	messages int // that each errand brings
	say      func(m *member)
	owed     int // how much the server says to each: replies, pushes "joined", messages

	// By room, from prepare.
	since map[*room]string // the position before what is missed
	last  map[*room]string // the position of the last message
}

// comeBack measures what recovery and history cost.
func comeBack(ctx context.Context, args []string, out io.Writer) error {
	f, t := flags("return", out)
	n := f.Int("n", 200, "members who leave and join again; one more in each room stays")
	rooms := f.Int("rooms", 1, "rooms over which they are spread")
	missed := f.Int("missed", 256, "messages that they miss")
	rounds := f.Int("rounds", 100, "how often each of them returns")
	parallel := f.Int("parallel", 8, "members that are returning at a time")
	t.sized(f)
	if err := t.parse(f, args); err != nil {
		return err
	}
	switch {
	case t.name != "chatring":
		return misuse("-wire %s has no positions", t.name)
	case len(t.pids) == 0:
		return misuse("-pid is needed")
	case *n < 1 || *rooms < 1 || *n%*rooms != 0 || *missed < 1 || *rounds < 1 || *parallel < 1:
		return misuse("-n is a multiple of -rooms, -missed, -rounds and -parallel are at least 1")
	}
	c, err := newCrowd(t, *rooms, *n / *rooms + 1)
	if err != nil {
		return err
	}
	defer c.end()
	if err := c.join(ctx); err != nil {
		return err
	}
	r := &returnFigures{
		At: time.Now(), URL: t.url, Members: *n, Rooms: *rooms, Parallel: *parallel, Rounds: *rounds, Missed: *missed, Size: t.size,
	}
	if err := r.measure(ctx, c, t); err != nil {
		return err
	}
	r.print(out)
	return write(t.file, r)
}

func (r *returnFigures) measure(ctx context.Context, c *crowd, t *target) error {
	callers := map[*loop]*caller{}
	for _, l := range c.loops {
		callers[l] = &caller{loop: l, since: map[*room]string{}, last: map[*room]string{}}
	}
	_, prepared := c.start(ctx, func(ctx context.Context, l *loop) error {
		ctx, cancel := patience(ctx)
		defer cancel()
		return callers[l].prepare(ctx, c.of[l], r.Missed+1, r.Size)
	})
	if err := prepared(); err != nil {
		return err
	}
	for _, e := range []struct {
		figures *errands
		set     func(*caller)
	}{
		{&r.Recovered, func(c *caller) { c.comeBack(c.since, r.Missed) }},
		{&r.UpToDate, func(c *caller) { c.comeBack(c.last, 0) }},
		{&r.History, func(c *caller) { c.history(min(r.Missed, mostHistory)) }},
	} {
		run := func(rounds int) error {
			_, wait := c.start(ctx, func(ctx context.Context, l *loop) error {
				ctx, cancel := patience(ctx)
				defer cancel()
				e.set(callers[l])
				return callers[l].run(ctx, c.of[l], rounds, max(r.Parallel/len(c.loops), 1))
			})
			return wait()
		}
		if err := run(1); err != nil { // to get warm
			return err
		}
		s, err := t.count(func() error { return run(r.Rounds) }, c.deliveries)
		if err != nil {
			return err
		}
		n := int64(r.Members * r.Rounds)
		*e.figures = errands{
			Count: n, Messages: callers[c.loops[0]].messages, Seconds: s.seconds, Processes: s.uses, OwnCPU: s.own,
			NodeCPU: proc.Total(s.uses), EachCPU: 1e6 * proc.Total(s.uses) / float64(n),
		}
	}
	r.Difference = r.Recovered.EachCPU - r.UpToDate.EachCPU
	return nil
}

// prepare has the first member of each room say messages, and waits until all
// have heard them.
func (c *caller) prepare(ctx context.Context, rooms []*room, messages, size int) error {
	s := &seeder{caller: c, messages: messages, size: size}
	c.ear = s
	for _, r := range rooms {
		s.say(r.members[0])
	}
	for missing(rooms) > 0 || s.answered < messages*len(rooms) {
		if err := c.listen(ctx); err != nil {
			return err
		}
	}
	return nil
}

// A seeder says the messages that are missed later, one by one.
type seeder struct {
	*caller
	messages int // to be said in each room
	size     int
	answered int
}

func (s *seeder) say(m *member) {
	s.publish(m, m.said+1, now(), s.size)
}

func (s *seeder) reply(m *member, n *note) {
	s.answered++
	switch {
	case n.failed:
		s.lost(m, fmt.Errorf("publish: %s", n.text))
	case int(m.said) < s.messages:
		s.say(m)
	}
}

// message keeps the first and the last position.
func (s *seeder) message(m *member, n *note) {
	if m.place != 0 {
		return
	}
	at := fmt.Sprintf("%d-%d", n.epoch, n.offset)
	if m.heard == 1 {
		s.since[m.room] = at
	}
	if int(m.heard) == s.messages {
		s.last[m.room] = at
	}
}

// comeBack is the errand of leaving, and joining by position.
func (c *caller) comeBack(since map[*room]string, missed int) {
	c.messages, c.owed = missed, 3+missed
	c.say = func(m *member) {
		c.send(m, fmt.Appendf(nil, `{"id":1,"cmd":"leave","room":"%s"}`, m.room.name))
		c.send(m, fmt.Appendf(nil, `{"id":2,"cmd":"join","room":"%s","since":"%s"}`, m.room.name, since[m.room]))
	}
}

// history is the errand of asking for the newest messages.
func (c *caller) history(messages int) {
	c.messages, c.owed = messages, 1
	c.say = func(m *member) {
		c.send(m, fmt.Appendf(nil, `{"id":3,"cmd":"history","room":"%s","limit":%d}`, m.room.name, messages))
	}
}

// run has every member but the first of each room do the errand so many times,
// and so many of them at a time.
func (c *caller) run(ctx context.Context, rooms []*room, rounds, parallel int) error {
	c.ear, c.begun, c.done = c, 0, 0
	c.waiting = members(rooms)[len(rooms):]
	times := rounds * len(c.waiting)
	for c.done < times {
		for ; c.begun < times && c.begun-c.done < parallel && len(c.waiting) > 0; c.begun++ {
			m := c.waiting[0]
			c.waiting = c.waiting[1:]
			m.owed = c.owed
			c.say(m)
		}
		if err := c.listen(ctx); err != nil {
			return err
		}
	}
	return nil
}

// listen takes a turn. It fails when something is not as it must be.
func (c *caller) listen(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.turn(longTurn); err != nil {
		return err
	}
	return c.failed
}

func (c *caller) joined(m *member, n *note) {
	if want := fmt.Sprintf(`"recovered":true,"missed":%d}`, c.messages); !bytes.HasSuffix(n.text, []byte(want)) {
		c.lost(m, fmt.Errorf("joined as %s, want %s", n.text, want))
	}
	c.comes(m)
}

func (c *caller) message(m *member, _ *note) { c.comes(m) }

func (c *caller) reply(m *member, n *note) {
	switch {
	case n.failed:
		c.lost(m, fmt.Errorf("refused: %s", n.text))
	case n.id == 3: // fewer, if they are long
		if c.messages = bytes.Count(n.text, []byte(`{"push":"message"`)); c.messages == 0 {
			c.lost(m, fmt.Errorf("no history: %s", n.text))
		}
	}
	c.comes(m)
}

// comes counts down what is owed.
func (c *caller) comes(m *member) {
	m.owed--
	switch {
	case m.owed == 0:
		c.done++
		c.waiting = append(c.waiting, m)
	case m.owed < 0:
		c.lost(m, fmt.Errorf("more was said than asked for"))
	}
}

func (r *returnFigures) print(out io.Writer) {
	fmt.Fprintf(out, "load                   %d members in %d rooms, %d at a time, %d times each; %d messages of %d bytes missed\n",
		r.Members, r.Rooms, r.Parallel, r.Rounds, r.Missed, r.Size)
	line := func(what string, e errands) {
		fmt.Fprintf(out, "%-22s %.1f µs of the node's CPU each: %d in %.1f s, %d messages each\n", what, e.EachCPU, e.Count, e.Seconds, e.Messages)
	}
	line("return after missing", r.Recovered)
	line("return up to date", r.UpToDate)
	fmt.Fprintf(out, "recovery               %.1f µs, the difference\n", r.Difference)
	line("history", r.History)
	own, seconds := 0.0, 0.0
	for _, e := range []errands{r.Recovered, r.UpToDate, r.History} {
		own, seconds = own+e.OwnCPU, seconds+e.Seconds
	}
	fmt.Fprintf(out, "this program           %.2f CPU seconds in %.1f s\n", own, seconds)
}
