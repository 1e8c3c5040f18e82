package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var hostFaults = []fault{
	{
		name:    "descriptors",
		promise: "A node that can open no more files sends newcomers to the next one, closes nobody whom it has, and takes newcomers in again when it can.",
		env:     []string{"CHATRING_HOME_URL="}, // nobody is led home meanwhile, which would close sockets
		prepare: func(ctx context.Context, s *scene) error { return s.seat(ctx, s.front(), fewRooms, 1) },
		inject:  takeDescriptors,
		hold:    8 * time.Second, // longer than HAProxy takes to give up a node that does not answer
		heal:    giveDescriptors,
		noticed: func(before, now reading) bool { return rose(before, now, "chatring_accept_waits_total") },
		within:  bounds{notice: 2 * time.Second, repair: 2 * time.Second, silence: 3 * time.Second},
	},
	{
		name:    "memory",
		promise: "A node with a hard memory limit, set for it, does not reach it in a flood of the longest messages to readers who do not read, and goes on serving.",
		rate:    40,
		// What the windows of the flooded rooms would take is more than the limit.
		env:     []string{"CHATRING_ROOM_WINDOW_BUDGET=33554432", "CHATRING_RETENTION_MESSAGES=300", "GOMEMLIMIT=128MiB"},
		prepare: limitMemory,
		inject:  floodMemory,
		heal: func(_ context.Context, s *scene) error {
			s.crowd.leave()
			return nil
		},
		within: bounds{repair: 5 * time.Second, silence: 5 * time.Second},
	},
}

// fewRooms is how many rooms have a member before the fault, and a second one who
// comes in during it.
const fewRooms = 60

// takeDescriptors leaves a node no descriptor, and sends newcomers to rooms some of
// which are on it.
func takeDescriptors(ctx context.Context, s *scene) error {
	pid, err := s.pid("ws2")
	if err != nil {
		return err
	}
	limit, err := exec.CommandContext(ctx, "prlimit", "--pid", strconv.Itoa(pid), "--nofile", "--output", "SOFT", "--noheadings").Output()
	if err != nil {
		return fmt.Errorf("prlimit: %w", err)
	}
	if s.descriptors, err = strconv.Atoi(strings.TrimSpace(string(limit))); err != nil {
		return err
	}
	if err := s.limit(ctx, 2, fmt.Sprintf("--nofile=%d:", firstFree(pid))); err != nil {
		return err
	}
	s.newcomers = newCrowd(context.WithoutCancel(ctx), s.front(), "crowd", fewRooms, 1, nil)
	s.cleanup(s.newcomers.leave)
	come, cancel := context.WithTimeout(ctx, time.Duration(s.runner.slack()*float64(5*time.Second)))
	defer cancel()
	if err := s.newcomers.await(come, fewRooms); err != nil {
		s.wrong("of those who came while there were no descriptors %v", err)
	}
	s.note("%d newcomers were in after %.1f s", s.newcomers.present(), time.Since(s.began).Seconds())
	return nil
}

// firstFree is the descriptor that a process would open next: those below it are
// taken.
func firstFree(pid int) int {
	for n := 0; ; n++ {
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, n)); err != nil {
			return n
		}
	}
}

// giveDescriptors lets the node open files again, and looks who has felt it.
func giveDescriptors(ctx context.Context, s *scene) error {
	seated, newcomers, played := s.crowd.met(), s.newcomers.met(), s.play.last()
	if n := played.Ended; n > 0 {
		s.wrong("%d sockets of the conversation were closed", n)
	}
	for who, ended := range map[string]map[int]int{"members": seated.ended, "newcomers": newcomers.ended} {
		for code, n := range ended {
			s.wrong("%d %s were closed (%d)", n, who, code)
		}
	}
	if err := s.limit(ctx, 2, fmt.Sprintf("--nofile=%d:", s.descriptors)); err != nil {
		return err
	}
	sp, err := speak(ctx, s.node(2), "after", "newcomer")
	for ; err != nil; sp, err = speak(ctx, s.node(2), "after", "newcomer") {
		if !sleep(ctx, watchEvery) || time.Since(s.began) > time.Minute {
			return fmt.Errorf("the node takes nobody in: %w", err)
		}
	}
	sp.close()
	return nil
}

// limit has prlimit(1) change a limit of a node.
func (s *scene) limit(ctx context.Context, i int, option string) error {
	pid, err := s.pid(nodeName(i))
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "prlimit", "--pid", strconv.Itoa(pid), option).CombinedOutput(); err != nil {
		return fmt.Errorf("prlimit: %w: %s", err, out)
	}
	return nil
}

const (
	// memoryLimit is how much data node 2 may have, in bytes (RLIMIT_DATA; setrlimit(2)).
	// Go takes it in steps of 64 MiB, of which three fit in.
	memoryLimit = 256 << 20
	// The flood: rooms, messages of each, and their length. That is more for each
	// reader than the kernel holds for it, 4 MiB (tcp_wmem; tcp(7)), and an outbox.
	floodRooms = 48
	floodEach  = 500
	floodSize  = 15 << 10
	// floodTime is how long it may take.
	floodTime = time.Minute
)

// limitMemory makes allocations of node 2 fail beyond the limit, which ends it, and
// seats readers there who will not read.
func limitMemory(ctx context.Context, s *scene) error {
	if err := s.limit(ctx, 2, fmt.Sprintf("--data=%d:", memoryLimit)); err != nil {
		return err
	}
	s.crowd = newCrowd(context.WithoutCancel(ctx), s.node(2), "flood", floodRooms, 2, smallBuffer)
	s.cleanup(s.crowd.leave)
	come, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return s.crowd.await(come, 2*floodRooms)
}

// floodMemory says in the rooms of node 2 more than it may hold.
func floodMemory(ctx context.Context, s *scene) error {
	s.crowd.sleep()
	flooding, stop := context.WithTimeout(ctx, time.Duration(s.runner.slack()*float64(floodTime)))
	defer stop()
	var said atomic.Int64
	var floods sync.WaitGroup
	for i := range floodRooms {
		floods.Go(func() { flood(flooding, s.node(2), roomName("flood", i), &said) })
	}
	done := make(chan struct{})
	go func() { defer close(done); floods.Wait() }()
	most := 0
	for over := false; !over; {
		if pid, err := s.pid("ws2"); err == nil {
			most = max(most, memoryOf(pid, "VmData:")<<10)
		}
		select {
		case <-done:
			over = true
		case <-time.After(watchEvery):
		}
	}
	now := s.watch.latest()
	closed := now.nodes[2][`chatring_closed_total{code="4008"}`]
	s.note("%d MiB said to %d readers who did not read, %.0f of whom were closed; node 2 had %d MiB of data at most, and may have %d",
		said.Load()*floodSize>>20, 2*floodRooms, closed, most>>20, memoryLimit>>20)
	if closed < floodRooms {
		s.wrong("only %.0f of the readers were closed", closed)
	}
	if said.Load() < floodRooms*floodEach {
		s.wrong("only %d of %d messages of the flood were taken", said.Load(), floodRooms*floodEach)
	}
	return nil
}

// flood says the longest messages in a room, so many of them or until ctx ends.
func flood(ctx context.Context, entrance, room string, said *atomic.Int64) {
	long := strings.Repeat("x", floodSize)
	for left := floodEach; left > 0; {
		sp, err := speak(ctx, entrance, room, "flood")
		for err == nil && left > 0 {
			if _, err = sp.publish(ctx, room, long); err == nil {
				left--
				said.Add(1)
			}
		}
		if sp != nil {
			sp.close()
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
}
