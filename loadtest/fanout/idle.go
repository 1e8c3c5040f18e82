package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/chatring/chatring/loadtest/proc"
)

// idleFigures is what idle found.
type idleFigures struct {
	At          time.Time `json:"at"`
	Wire        string    `json:"wire"`
	Connections int       `json:"connections"`
	Rooms       int       `json:"rooms"`
	BeforeKB    int       `json:"rss_before_kb"`
	JoinedKB    int       `json:"rss_joined_kb"`  // right after the last join
	SettledKB   int       `json:"rss_settled_kb"` // after the wait
	EachKB      float64   `json:"kb_per_connection"`
	JoinSeconds float64   `json:"join_seconds"`
	JoinCPU     float64   `json:"node_cpu_ms_per_join"`
	IdleCPU     float64   `json:"node_cpu_share_idle"` // of one CPU, during the wait

	Inbox      bool    `json:"inbox,omitempty"` // the further room is the user's own
	More       int     `json:"more_rooms_per_connection,omitempty"`
	MoreKB     int     `json:"rss_more_settled_kb,omitempty"`
	MoreEachKB float64 `json:"kb_per_additional_room,omitempty"`
}

// idle measures the memory of members that say nothing.
func idle(ctx context.Context, args []string, out io.Writer) error {
	f, t := flags("idle", out)
	n := f.Int("n", 8000, "connections")
	rooms := f.Int("rooms", 800, "rooms over which they are spread")
	wait := f.Duration("wait", 30*time.Second, "how long they stay before memory is read, so that garbage is returned")
	more := f.Int("more", 0, "rooms that each connection joins besides, once the first figure is taken (chatring)")
	inbox := f.Bool("inbox", false, "the room that each connection joins besides is its user's inbox; with -rooms as -n, so that each user has one connection (chatring)")
	if err := t.parse(f, args); err != nil {
		return err
	}
	if *inbox {
		*more = 1
	}
	switch {
	case len(t.pids) == 0 || *n < 1 || *rooms < 1 || *n%*rooms != 0:
		return misuse("-pid is needed, and -n as a multiple of -rooms")
	case *more < 0 || *more > 0 && t.name != "chatring":
		return misuse("-more is at least 0, and for -wire chatring")
	}

	c, err := newCrowd(t, *rooms, *n / *rooms)
	if err != nil {
		return err
	}
	defer c.end()
	if *inbox {
		for i, r := range c.rooms {
			for _, m := range r.members {
				m.user = fmt.Sprintf("idle%d-%d", i, m.place)
			}
		}
	}
	r := &idleFigures{At: time.Now(), Wire: t.name, Connections: *n, Rooms: *rooms, More: *more, Inbox: *inbox}
	if err := r.first(ctx, c, t, *wait); err != nil {
		return err
	}
	fmt.Fprintf(out, "connections            %d in %d rooms, joined in %.1f s, %.2f ms of the node's CPU each\n", r.Connections, r.Rooms, r.JoinSeconds, r.JoinCPU)
	fmt.Fprintf(out, "resident               %d kB before, %d kB joined, %d kB after %s\n", r.BeforeKB, r.JoinedKB, r.SettledKB, wait)
	fmt.Fprintf(out, "per connection         %.2f kB\n", r.EachKB)
	fmt.Fprintf(out, "idle                   %.1f %% of a CPU\n", 100*r.IdleCPU)
	if *more > 0 {
		if err := r.second(ctx, c, t, *wait); err != nil {
			return err
		}
		fmt.Fprintf(out, "additional rooms       %d for each connection: %d kB after %s\n", r.More, r.MoreKB, wait)
		fmt.Fprintf(out, "per additional room    %.2f kB\n", r.MoreEachKB)
	}
	return write(t.file, r)
}

// first is the figures of connections in one room each.
func (r *idleFigures) first(ctx context.Context, c *crowd, t *target, wait time.Duration) (err error) {
	if r.BeforeKB, err = proc.ResidentOf(t.pids); err != nil {
		return err
	}
	joins, err := t.count(func() error { return c.join(ctx) }, c.deliveries)
	if err != nil {
		return err
	}
	sockets, err := proc.SocketsOf(t.pids)
	switch {
	case errors.Is(err, fs.ErrPermission): // another user's: believe -pid
	case err != nil:
		return err
	case sockets < r.Connections:
		return fmt.Errorf("of %d connections, the processes of -pid have %d at most: is it the node of -url?", r.Connections, sockets)
	}
	r.JoinSeconds = joins.seconds
	r.JoinCPU = proc.Total(joins.uses) * 1000 / float64(r.Connections)
	if r.JoinedKB, err = proc.ResidentOf(t.pids); err != nil {
		return err
	}
	waited, err := t.count(func() error { return c.idle(ctx, wait) }, c.deliveries)
	if err != nil {
		return err
	}
	r.IdleCPU = proc.Total(waited.uses) / waited.seconds
	if r.SettledKB, err = proc.ResidentOf(t.pids); err != nil {
		return err
	}
	r.EachKB = float64(r.SettledKB-r.BeforeKB) / float64(r.Connections)
	return nil
}

// second is the figures of connections that join more rooms.
func (r *idleFigures) second(ctx context.Context, c *crowd, t *target, wait time.Duration) (err error) {
	_, joined := c.start(ctx, func(ctx context.Context, l *loop) error {
		ctx, cancel := patience(ctx)
		defer cancel()
		return l.joinMore(ctx, members(c.of[l]), r.More, r.Inbox)
	})
	if err := joined(); err != nil {
		return err
	}
	if err := c.idle(ctx, wait); err != nil {
		return err
	}
	if r.MoreKB, err = proc.ResidentOf(t.pids); err != nil {
		return err
	}
	r.MoreEachKB = float64(r.MoreKB-r.SettledKB) / float64(r.Connections*r.More)
	return nil
}

// An extender has members join further rooms by command, each one after the
// other, and so many members at a time.
type extender struct {
	idler
	*loop
	more    int
	inbox   bool
	waiting []*member
	done    int
}

func (l *loop) joinMore(ctx context.Context, members []*member, more int, inbox bool) error {
	e := &extender{loop: l, more: more, inbox: inbox, waiting: members}
	l.ear = e
	for range min(64, len(members)) {
		e.begin()
	}
	for e.done < len(members) && e.failed == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := l.turn(longTurn); err != nil {
			return err
		}
	}
	return e.failed
}

// begin lets another member join, if there is one.
func (e *extender) begin() {
	if len(e.waiting) > 0 {
		m := e.waiting[0]
		e.waiting = e.waiting[1:]
		e.next(m)
	}
}

func (e *extender) next(m *member) {
	m.commands++
	room := fmt.Sprintf("%s-%d", m.room.name, m.commands)
	if e.inbox {
		room = "@" + m.user
	}
	e.send(m, fmt.Appendf(nil, `{"id":%d,"cmd":"join","room":%q}`, m.commands, room))
}

func (e *extender) reply(m *member, n *note) {
	switch {
	case n.failed:
		e.lost(m, fmt.Errorf("join: %s", n.text))
	case m.commands < e.more:
		e.next(m)
	default:
		e.done++
		e.begin()
	}
}
