package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var hostFaults = []fault{
	{
		name:    "descriptors",
		promise: "A node that can open no more files sends newcomers to the next one, closes nobody whom it has, and takes newcomers in again when it can.",
		quick:   true,
		prepare: func(ctx context.Context, s *scene) error { return s.seat(ctx, s.front(), fewRooms, 1) },
		inject:  takeDescriptors,
		hold:    8 * time.Second, // longer than HAProxy takes to give up a node that does not answer
		heal:    giveDescriptors,
		noticed: func(before, now reading) bool { return rose(before, now, "chatring_accept_waits_total") },
		within:  bounds{notice: 2 * time.Second, repair: 2 * time.Second, silence: 3 * time.Second},
	},
	{
		name:        "memory",
		promise:     "A node that reaches its memory limit under a flood and is killed for it takes nothing with it, and the others do not grow.",
		prepare:     limitMemory,
		inject:      floodMemory,
		heal:        func(ctx context.Context, s *scene) error { return s.again(ctx, "ws2") },
		healsItself: true,
		within:      bounds{repair: 15 * time.Second, silence: 3 * time.Second},
		check: func(_ context.Context, _ *scene, r *row) error {
			if r.Peak > memoryLimit>>20 {
				r.wrong("another node grew to %.0f MiB", r.Peak)
			}
			return nil
		},
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
	if err := s.limitDescriptors(ctx, 2, firstFree(pid)); err != nil {
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
	if err := s.limitDescriptors(ctx, 2, s.descriptors); err != nil {
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

// limitDescriptors sets the soft limit of a node's descriptors.
func (s *scene) limitDescriptors(ctx context.Context, i, n int) error {
	pid, err := s.pid(nodeName(i))
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "prlimit", "--pid", strconv.Itoa(pid), fmt.Sprintf("--nofile=%d:", n)).CombinedOutput(); err != nil {
		return fmt.Errorf("prlimit: %w: %s", err, out)
	}
	return nil
}

// memoryLimit is what node 2 may have, in bytes: twice of what it takes in peace,
// and a quarter of what its windows may have.
const memoryLimit = 64 << 20

// limitMemory starts node 2 again in a control group.
func limitMemory(ctx context.Context, s *scene) error {
	group, limit := fmt.Sprintf("/sys/fs/cgroup/memory/chatring-chaos-%d", os.Getpid()), "memory.limit_in_bytes"
	if _, err := os.Stat(filepath.Dir(group)); err != nil { // version 2
		group, limit = fmt.Sprintf("/sys/fs/cgroup/chatring-chaos-%d", os.Getpid()), "memory.max"
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		return fmt.Errorf("a control group is needed: %w", err)
	}
	s.cleanup(func() {
		// It goes when its last process is gone.
		for deadline := time.Now().Add(5 * time.Second); os.Remove(group) != nil && time.Now().Before(deadline); {
			s.signal("ws2", syscall.SIGKILL) //nolint:errcheck // it may have ended
			time.Sleep(50 * time.Millisecond)
		}
	})
	if err := os.WriteFile(filepath.Join(group, limit), []byte(strconv.Itoa(memoryLimit)), 0o644); err != nil {
		return fmt.Errorf("a control group with a memory limit is needed: %w", err)
	}
	start := filepath.Join(s.state, "ws2.start")
	script, err := os.ReadFile(start)
	if err != nil {
		return err
	}
	limited := strings.Replace(string(script), "\nexec ", "\necho $$ >"+group+"/cgroup.procs || exit\nexec ", 1)
	if err := os.WriteFile(start, []byte(limited), 0o600); err != nil {
		return err
	}
	pid, err := s.pid("ws2")
	if err != nil {
		return err
	}
	if err := s.signal("ws2", syscall.SIGKILL); err != nil {
		return err
	}
	if err := awaitEnd(ctx, pid); err != nil {
		return err
	}
	return s.again(ctx, "ws2")
}

// floodMemory fills the windows of many rooms of node 2 until it is killed.
func floodMemory(ctx context.Context, s *scene) error {
	pid, err := s.pid("ws2")
	if err != nil {
		return err
	}
	s.mayEnd("ws2", pid)
	flooding, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	var floods sync.WaitGroup
	for i := range 40 {
		floods.Go(func() { flood(flooding, s.node(2), fmt.Sprintf("flood-%d", i), 0) })
	}
	ended := awaitEnd(flooding, pid)
	stop()
	floods.Wait()
	if ended != nil {
		return errors.New("the limit was not reached: nothing was shown")
	}
	s.note("killed at %d MiB after %.1f s (control group)", memoryLimit>>20, time.Since(s.began).Seconds())
	return nil
}

// flood publishes long messages in a room until it fails, one in every so much time.
func flood(ctx context.Context, entrance, room string, every time.Duration) {
	sp, err := speak(ctx, entrance, room, "flood")
	if err != nil {
		return
	}
	defer sp.close()
	for long := strings.Repeat("x", 15<<10); err == nil && sleep(ctx, every); {
		_, err = sp.publish(ctx, room, long)
	}
}
