package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

var nodeFaults = []fault{
	{
		name:    "kill",
		promise: "A node that dies takes nothing with it, and its members are elsewhere within seconds.",
		quick:   true,
		inject: func(_ context.Context, s *scene) error {
			return s.signal("ws2", syscall.SIGKILL)
		},
		hold:        3 * time.Second,
		heal:        func(ctx context.Context, s *scene) error { return s.again(ctx, "ws2") },
		healsItself: true,
		noticed:     socketsEnded,
		within:      bounds{notice: time.Second, repair: 8 * time.Second, silence: 3 * time.Second},
	},
	{
		name:    "drain",
		promise: "A node that is told to stop sends its members away over a span, and ends by itself, before it would be killed.",
		inject:  func(_ context.Context, s *scene) error { return s.signal("ws3", syscall.SIGTERM) },
		heal: func(ctx context.Context, s *scene) error {
			pid, err := s.pid("ws3")
			if err != nil {
				return err
			}
			if err := awaitEnd(ctx, pid); err != nil {
				return err
			}
			s.note("ended after %.1f s", time.Since(s.began).Seconds())
			if took := time.Since(s.began); took > stopGrace {
				s.wrong("the node ended after %.1f s, and would be killed after %v", took.Seconds(), stopGrace)
			}
			return s.again(ctx, "ws3")
		},
		healsItself: true,
		within:      bounds{repair: 20 * time.Second, silence: time.Second},
		check:       func(_ context.Context, s *scene, r *row) error { return s.politely(r, "ws3") },
	},
	{
		name:    "rolling",
		promise: "All nodes can be restarted one after the other: nothing is lost, members come back at a bounded rate, and those of the other nodes do not feel it.",
		env:     []string{fmt.Sprintf("CHATRING_DRAIN_RATE=%d", drainRate), fmt.Sprintf("CHATRING_HOME_RATE=%d", homeRate)},
		rate:    45,
		prepare: func(ctx context.Context, s *scene) error { return s.seat(ctx, s.front(), crowdRooms, crowdMembers) },
		inject: func(ctx context.Context, s *scene) error {
			for i := range nodes {
				begun := time.Now()
				part := nodeName(i + 1)
				if err := s.signal(part, syscall.SIGTERM); err != nil {
					return err
				}
				if err := s.again(ctx, part); err != nil {
					return err
				}
				s.phases = append(s.phases, phase{appID(i + 1), begun, time.Now()})
			}
			return nil
		},
		healsItself: true,
		within:      bounds{silence: time.Second},
		check:       rollingCheck,
	},
	{
		name:        "homecoming",
		promise:     "When a node is back after its death, members who sit elsewhere are led home, a bounded number each second, so that no room stays on two nodes.",
		env:         []string{fmt.Sprintf("CHATRING_HOME_RATE=%d", homeRate)},
		rate:        45,
		prepare:     func(ctx context.Context, s *scene) error { return s.seat(ctx, s.front(), 200, crowdMembers) },
		inject:      loseNode,
		heal:        awaitHome,
		healsItself: true,
		noticed:     socketsEnded,
		within:      bounds{notice: time.Second, silence: 3 * time.Second},
	},
}

// loseNode kills a node, waits until its members are elsewhere, and starts it again at
// once: it may be back before the others have seen that the ring was another one.
func loseNode(ctx context.Context, s *scene) error {
	s.sockets = s.watch.latest().nodes[2]["chatring_connections"]
	if s.sockets < 50 {
		return fmt.Errorf("node 2222 has %.0f sockets: nothing can be shown", s.sockets)
	}
	all := s.crowd.present()
	if err := s.signal("ws2", syscall.SIGKILL); err != nil {
		return err
	}
	for s.crowd.present() == all && s.play.last().Away == 0 && sleep(ctx, 10*time.Millisecond) {
	}
	if err := s.crowd.await(ctx, all); err != nil {
		return err
	}
	return s.again(ctx, "ws2")
}

// homeWithin is how long it may take until everybody is at home again. Nodes look
// every five seconds whether the ring has changed, and twice before they lead.
const homeWithin = 45 * time.Second

// awaitHome waits until the node has its members again, and nobody sits elsewhere.
func awaitHome(ctx context.Context, s *scene) error {
	back := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.runner.slack()*float64(homeWithin)))
	defer cancel()
	for {
		now := s.watch.latest()
		here, away := now.nodes[2]["chatring_connections"], now.sum("chatring_rooms_away")
		if here >= 0.8*s.sockets && away == 0 && len(now.nodes) == nodes {
			break
		}
		if !sleep(ctx, watchEvery) {
			s.wrong("after %.0f s the node has %.0f of %.0f sockets again, and %.0f rooms are elsewhere", time.Since(back).Seconds(), here, s.sockets, away)
			return nil
		}
	}
	rate := mostPerSecond(s.crowd.joinsSince(back))
	s.note("all at home %.1f s after the node was back, %d a second at most", time.Since(back).Seconds(), rate)
	if most := leadersMost(); rate > most {
		s.wrong("%d members were led within a second, more than %d", rate, most)
	}
	return nil
}

// The rates that nodes are given, in members a second: small, so that a crowd can
// show that they hold.
const (
	drainRate = 100
	homeRate  = 20
)

// jitter is how much more may arrive within a second: clients come back within a
// tenth of it.
const jitter = 1.2

// leadersMost is how many members the three others may lead home within a second.
func leadersMost() int { return int(jitter * (nodes - 1) * homeRate) }

// politely wants a node to have ended by itself, and nobody to have been cut off.
func (s *scene) politely(r *row, part string) error {
	if !bytes.Contains(s.log(part), []byte(`"msg":"stopped"`)) {
		r.wrong("%s did not end by itself", part)
	}
	for how, n := range r.closings {
		if how != "1012" {
			r.wrong("%d sessions ended by %s, not by 1012", n, how)
		}
	}
	if r.closings["1012"] == 0 {
		return errors.New("no session was sent away: nothing was shown")
	}
	return nil
}

// stopGrace is Compose's stop_grace_period: when a node that drains is killed.
const stopGrace = 30 * time.Second

// crowdRooms have crowdMembers each, who sit in all nodes while they are restarted.
const (
	crowdRooms   = 400
	crowdMembers = 3
)

// joinsMost is how many members of the crowd may come back within a second: those
// whom the node that drains sends away, and those whom the others lead home.
func joinsMost() int { return int(jitter*drainRate) + leadersMost() }

// A phase is the restart of one node.
type phase struct {
	shard      string
	begun, end time.Time
}

func rollingCheck(_ context.Context, s *scene, r *row) error {
	rate := mostPerSecond(s.crowd.joinsSince(s.began))
	r.note("%d of a crowd of %d came back within a second at most", rate, crowdRooms*crowdMembers)
	if most := joinsMost(); rate > most {
		r.wrong("%d members came back within a second, more than %d", rate, most)
	}
	for i := range nodes {
		if err := s.politely(r, nodeName(i+1)); err != nil {
			return err
		}
	}
	return s.comparePhases(r, s.phases)
}

// comparePhases compares what members felt who were not touched, in the phases of a
// fault, with what they felt before.
func (s *scene) comparePhases(r *row, phases []phase) error {
	quiet, during := untouched(s.play.all(), s.began, phases)
	if len(quiet) < 200 || len(during) < 200 {
		return errors.New("too little was heard to compare")
	}
	before, after := quantile(quiet, 0.99), quantile(during, 0.99)
	r.note("p99 of untouched members %.1f ms, %.1f ms before", after, before)
	if most := max(p99Factor*before, before+p99Floor); after > most*s.runner.slack() {
		r.wrong("p99 of untouched members moved from %.1f to %.1f ms", before, after)
	}
	return nil
}

// quietTime is how long before a fault the measure of what is normal begins.
const quietTime = 8 * time.Second

// The p99 of members that a restart does not touch may move by a tenth. Below the
// floor, in milliseconds, a tenth is less than what one fsync varies by.
const (
	p99Factor = 1.1
	p99Floor  = 2.0
)

// untouched splits what was heard, in milliseconds: before the fault, and in the
// phases of a restart at readers on other nodes that had sat there when it began.
// What a speaker had to say again, who was sent away before the answer, does not
// count: that speaker was touched.
func untouched(beats []beat, began time.Time, phases []phase) (quiet, during []float64) {
	for _, b := range beats {
		for _, d := range b.Heard {
			if b.At.Before(began) && b.At.After(began.Add(-quietTime)) {
				quiet = append(quiet, d.MS)
			}
			for _, p := range phases {
				joined := b.At.Add(-time.Duration(d.Sits * float64(time.Second)))
				if b.At.After(p.begun) && b.At.Before(p.end) && d.Shard != p.shard && joined.Before(p.begun) && !d.Again {
					during = append(during, d.MS)
				}
			}
		}
	}
	return quiet, during
}

// quantile sorts its argument.
func quantile(v []float64, share float64) float64 {
	slices.Sort(v)
	return v[int(share*float64(len(v)-1))]
}
