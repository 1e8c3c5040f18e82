package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

var crowdFaults = []fault{
	{
		name:        "storm",
		promise:     "All members of 1,000 rooms leave and come back at the same moment, to nodes that have their rooms no more: two reads of Redis a room at the most, and nobody misses what was said meanwhile.",
		rate:        60,
		env:         []string{"CHATRING_ROOM_LINGER=1s"}, // rooms are forgotten at once
		prepare:     seatStorm,
		inject:      func(ctx context.Context, s *scene) error { return storm(ctx, s, readsMost, false) },
		healsItself: true,
		within:      bounds{silence: 5 * time.Second},
	},
	{
		name:    "storm-refused",
		promise: "The same where more come than the nodes look at: whoever is refused is told when to come back, nobody misses anything, and no node reads a room more than once for all who come to it.",
		rate:    60,
		env:     []string{"CHATRING_ROOM_LINGER=1s", "CHATRING_GATEWAY_HANDSHAKES=150", "CHATRING_GATEWAY_HANDSHAKE_BURST=200"},
		prepare: seatStorm,
		// Those whom the room's home refuses are sent to the other nodes.
		inject:      func(ctx context.Context, s *scene) error { return storm(ctx, s, nodes, true) },
		healsItself: true,
		within:      bounds{silence: 5 * time.Second},
	},
	{
		name:    "slow-reader",
		promise: "One reader that stops reading in a loud room is closed as a slow consumer as soon as its outbox is full, the others hear as fast as before, and when it comes back it misses nothing.",
		rate:    60,
		// Only a full outbox can close it in the time that it has.
		env:     []string{"CHATRING_GATEWAY_WRITE_TIMEOUT=2m"},
		prepare: loudRoom,
		inject:  stopReading,
		heal:    readAgain,
		noticed: func(before, now reading) bool { return rose(before, now, "chatring_slow_consumers_total") },
		within:  bounds{notice: 20 * time.Second, repair: 10 * time.Second, silence: 2 * time.Second},
	},
}

const (
	stormRooms   = 1000
	stormMembers = 4
	// stormTime is how long all of them may take to come back.
	stormTime = 20 * time.Second
	// readsMost is how often a room's log may be read for all who come back to it.
	readsMost = 2
)

// seat brings members of a crowd into rooms in which something was said.
func (s *scene) seat(ctx context.Context, entrance string, rooms, members int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := sayEverywhere(ctx, s.front(), "crowd", rooms); err != nil {
		return err
	}
	s.crowd = newCrowd(context.WithoutCancel(ctx), entrance, "crowd", rooms, members, nil)
	s.cleanup(s.crowd.leave)
	return s.crowd.await(ctx, rooms*members)
}

func seatStorm(ctx context.Context, s *scene) error {
	return s.seat(ctx, s.front(), stormRooms, stormMembers)
}

// storm cuts everybody off and lets them back in, and holds how often the log of a
// room was read against most. crowded says that some must have been refused.
func storm(ctx context.Context, s *scene, most float64, crowded bool) error {
	all := stormRooms * stormMembers
	s.crowd.cut()
	if err := s.crowd.empty(ctx); err != nil {
		return err
	}
	said, err := sayEverywhere(ctx, s.front(), "crowd", stormRooms)
	if err != nil {
		return err
	}
	// The rooms of the conversation stay.
	for s.watch.latest().sum("chatring_rooms") > stormRooms/10 {
		if !sleep(ctx, watchEvery) {
			return fmt.Errorf("the nodes have not forgotten the rooms: %w", ctx.Err())
		}
	}
	before, err := s.logReads(ctx)
	if err != nil {
		return err
	}
	begun, seated := time.Now(), s.crowd.met()
	s.crowd.release()
	limit, cancel := context.WithTimeout(ctx, time.Duration(s.runner.slack()*float64(stormTime)))
	defer cancel()
	if err := s.crowd.await(limit, all*99/100); err != nil {
		s.wrong("after %v %v", time.Since(begun).Round(time.Second), err)
	}
	took := time.Since(begun)
	if err := s.crowd.await(limit, all); err != nil {
		s.wrong("%v", err)
	}
	behind := s.crowd.caughtUp(limit, said)
	after, err := s.logReads(ctx)
	if err != nil {
		return err
	}
	met, joins := s.crowd.met(), s.crowd.tookSince(begun)
	met.refused -= seated.refused
	if len(joins) == 0 {
		return nil // said already
	}
	reads := float64(after-before) / stormRooms
	s.note("99 %% of %d were back after %.1f s, the join itself took %.0f ms at p99; %.2f reads of Redis a room; %d handshakes refused, each with a time",
		all, took.Seconds(), quantile(joins, 0.99), reads, met.refused)
	if crowded && met.refused == 0 {
		s.wrong("nobody was refused: nothing was shown")
	}
	s.judgeStorm(met, reads, most, behind, all)
	return nil
}

func (s *scene) judgeStorm(met tolls, reads, most float64, behind, all int) {
	s.broken = append(s.broken, met.wrongs("the crowd")...)
	if behind > 0 {
		s.wrong("%d members missed what was said while they were away", behind)
	}
	if met.recovered < all {
		s.wrong("%d of %d messages were recovered: nothing was shown", met.recovered, all)
	}
	if met.declared > 0 {
		s.wrong("%d gaps were declared, and nothing was lost", met.declared)
	}
	if reads > most {
		s.wrong("%.1f reads of Redis a room", reads)
	}
	if reads < 0.5 {
		s.wrong("%.1f reads of Redis a room: the nodes still had them", reads)
	}
	if met.failed > 0 {
		s.wrong("%d handshakes were not answered (%v)", met.failed, met.why)
	}
}

// The loud room: its members, how long a message is, and how many a second. What
// waits in the kernel and in HAProxy for a reader that stops is some megabytes, and
// no node's doing.
const (
	loudMembers = 10
	loudSize    = 14 << 10
	loudPause   = 10 * time.Millisecond
	// heldMost is how many bytes may be said in the room before the reader is closed.
	heldMost = 24 << 20
	// grownMost is how much memory its node may take more meanwhile, in KiB.
	grownMost = 24 << 10
	// calm is how long the room is loud before the reader stops.
	calm = 5 * time.Second
)

// A loud is a room in which one speaker goes on and on.
type loud struct {
	others, slow *crowd
	stop         context.CancelFunc
	speaking     sync.WaitGroup

	mu     sync.Mutex
	said   int // bytes
	last   position
	failed error
}

// loudRoom seats the members, one of them in a crowd of its own.
func loudRoom(ctx context.Context, s *scene) error {
	life := context.WithoutCancel(ctx)
	l := &loud{
		others: newCrowd(life, s.front(), "loud", 1, loudMembers, nil),
		slow:   newCrowd(life, s.front(), "loud", 1, 1, smallBuffer),
	}
	s.loud = l
	s.cleanup(l.others.leave)
	s.cleanup(l.slow.leave)
	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := l.others.await(limit, loudMembers); err != nil {
		return err
	}
	if err := l.slow.await(limit, 1); err != nil {
		return err
	}
	sp, err := speak(limit, s.front(), roomName("loud", 0), "speaker")
	if err != nil {
		return err
	}
	speaking, stop := context.WithCancel(life)
	l.stop = stop
	l.speaking.Go(func() { l.speak(speaking, sp) })
	s.cleanup(l.silence)
	return nil
}

func (l *loud) silence() {
	l.stop()
	l.speaking.Wait()
}

func (l *loud) speak(ctx context.Context, sp *speaker) {
	defer sp.close()
	for sleep(ctx, loudPause) {
		pos, err := sp.publish(ctx, roomName("loud", 0), stamped(loudSize))
		l.mu.Lock()
		if err != nil && ctx.Err() == nil {
			l.failed = err
			l.mu.Unlock()
			return
		}
		if err == nil {
			l.last, l.said = pos, l.said+loudSize
		}
		l.mu.Unlock()
	}
}

func (l *loud) soFar() (said int, last position, failed error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said, l.last, l.failed
}

// stopReading listens to the room for a while, and then has the reader stop until its
// node has had enough.
func stopReading(ctx context.Context, s *scene) error {
	l := s.loud
	l.others.time()
	if !sleep(ctx, calm) {
		return ctx.Err()
	}
	quiet := l.others.met().heard
	home, err := s.home(ctx, roomName("loud", 0))
	if err != nil {
		return err
	}
	memory, grown := s.resident(home), 0
	before, _, _ := l.soFar()
	s.watch.begin(s.fault.noticed)
	s.began = time.Now()
	l.slow.sleep()
	for s.watch.noticedAt().IsZero() && time.Since(s.began) < 30*time.Second {
		grown = max(grown, s.resident(home)-memory)
		if !sleep(ctx, watchEvery) {
			return ctx.Err()
		}
	}
	said, _, failed := l.soFar()
	heard := l.others.met().heard[len(quiet):]
	if failed != nil || len(quiet) < 200 || len(heard) < 200 {
		return fmt.Errorf("too little was heard to compare (%d and %d): %w", len(quiet), len(heard), failed)
	}
	p99, normal := quantile(heard, 0.99), quantile(quiet, 0.99)
	s.note("the reader was closed when %.1f MiB had been said, and its node had %.1f MiB more; p99 of the others %.1f ms, %.1f ms before",
		float64(said-before)/(1<<20), float64(grown)/1024, p99, normal)
	s.judgeLoud(said-before, grown, normal, p99)
	return nil
}

func (s *scene) judgeLoud(held, grown int, normal, p99 float64) {
	if held > heldMost {
		s.wrong("%d MiB were said before the reader was closed", held>>20)
	}
	if grown > grownMost {
		s.wrong("its node took %d MiB more", grown>>10)
	}
	if most := max(loudFactor*normal, normal+loudFloor); p99 > most*s.runner.slack() {
		s.wrong("p99 of the others moved from %.1f to %.1f ms", normal, p99)
	}
}

// The p99 of the others may move by a half, and by as much as one round of the
// garbage collector and an fsync take.
const (
	loudFactor = 1.5
	loudFloor  = 25.0 // milliseconds
)

// readAgain has the reader come back while the room is as loud as before, and waits
// until it has heard everything.
func readAgain(ctx context.Context, s *scene) error {
	l := s.loud
	l.slow.wake()
	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for l.slow.met().recovered == 0 && sleep(limit, watchEvery) {
	}
	l.silence()
	_, last, failed := l.soFar()
	if failed != nil {
		return fmt.Errorf("speak: %w", failed)
	}
	everybody := map[string]position{roomName("loud", 0): last}
	for who, c := range map[string]*crowd{"the slow reader": l.slow, "the others": l.others} {
		if n := c.caughtUp(limit, everybody); n > 0 {
			s.wrong("%s: %d have not heard everything", who, n)
		}
		s.broken = append(s.broken, c.met().wrongs(who)...)
	}
	slow, others := l.slow.met(), l.others.met()
	if slow.recovered == 0 {
		s.wrong("the slow reader did not come back for what it had missed")
	}
	for code, n := range others.ended {
		s.wrong("%d of the others were closed (%d)", n, code)
	}
	if closed := s.watch.latest().sum(`chatring_closed_total{code="4008"}`); closed != 1 {
		s.wrong("%.0f sockets were closed as slow consumers, not 1", closed)
	}
	s.note("it came back and recovered %d messages", slow.recovered)
	return nil
}

// resident is the memory that a part has, in KiB.
func (s *scene) resident(part string) int {
	pid, err := s.pid(part)
	if err != nil {
		return 0
	}
	return memoryOf(pid, "VmRSS:")
}

// home is the node that a room is on.
func (s *scene) home(ctx context.Context, room string) (string, error) {
	_, b := s.watch.get(ctx, "http://"+s.front()+"/shard/"+room)
	for i := range nodes {
		if strings.Contains(string(b), `"`+appID(i+1)+`"`) {
			return nodeName(i + 1), nil
		}
	}
	return "", fmt.Errorf("no node has %s: %s", room, b)
}
