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
		promise: "A node without a descriptor left lets newcomers wait and serves those whom it has, and takes newcomers in again when it has some.",
		inject:  takeDescriptors,
		hold:    3 * time.Second,
		heal: func(ctx context.Context, s *scene) error {
			s.crowd.leave()
			return s.limitDescriptors(ctx, 2, s.descriptors)
		},
		noticed: func(before, now reading) bool { return rose(before, now, "chatring_accept_waits_total") },
		within:  bounds{notice: 5 * time.Second, repair: 8 * time.Second},
		check: func(ctx context.Context, s *scene, _ *row) error {
			sp, err := speak(ctx, s.node(2), "after", "newcomer")
			if err != nil {
				return fmt.Errorf("the node takes nobody in: %w", err)
			}
			sp.close()
			return nil
		},
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

// takeDescriptors leaves a node a few more descriptors than it has open, and sends
// it more sockets than that.
func takeDescriptors(ctx context.Context, s *scene) error {
	pid, err := s.pid("ws2")
	if err != nil {
		return err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "prlimit", "--pid", strconv.Itoa(pid), "--nofile", "--output", "HARD", "--noheadings").Output()
	if err != nil {
		return fmt.Errorf("prlimit: %w", err)
	}
	if s.descriptors, err = strconv.Atoi(strings.TrimSpace(string(out))); err != nil {
		return err
	}
	if err := s.limitDescriptors(ctx, 2, len(open)+20); err != nil {
		return err
	}
	// Directly: HAProxy would send them elsewhere.
	s.crowd = newCrowd(context.WithoutCancel(ctx), s.node(2), "crowd", 60, 2, nil)
	s.cleanup(s.crowd.leave)
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
