package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

var doorFaults = []fault{
	{
		name:    "haproxy-reload",
		promise: "A reload that adds a node and takes another out closes no socket, and rooms that sit on two nodes from then on stay one room.",
		env:     []string{"CHATRING_HOME_URL="}, // nobody is led home meanwhile, which would close sockets
		prepare: func(ctx context.Context, s *scene) error { return s.ownDoor(ctx, "ws4") },
		inject:  func(_ context.Context, s *scene) error { return s.reload("ws2") },
		hold:    3 * time.Second,
		within:  bounds{silence: time.Second},
		check: func(_ context.Context, s *scene, r *row) error {
			if ended := s.play.last().Ended; ended != 0 {
				r.wrong("%d sockets were closed", ended)
			}
			if r.split == 0 {
				return errors.New("no room was on two nodes: nothing was shown")
			}
			r.note("%d rooms on two nodes", r.split)
			return nil
		},
	},
	{
		name:    "haproxy-kill",
		promise: "A HAProxy that dies and is started again costs the time of its absence.",
		quick:   true,
		inject:  func(_ context.Context, s *scene) error { return s.signal("haproxy", syscall.SIGKILL) },
		hold:    time.Second,
		heal:    func(ctx context.Context, s *scene) error { return s.again(ctx, "haproxy") },
		noticed: socketsEnded,
		within:  bounds{notice: time.Second, repair: 8 * time.Second},
	},
}

// ownDoor starts HAProxy again with a copy of its file that lacks a node, so that
// the file can be edited.
func (s *scene) ownDoor(ctx context.Context, without string) error {
	b, err := os.ReadFile(s.runner.file("haproxy", "haproxy.cfg"))
	if err != nil {
		return err
	}
	s.doorFile = filepath.Join(s.state, "haproxy.cfg")
	s.cleanup(func() { _ = os.Remove(s.doorFile) })
	if err := os.WriteFile(s.doorFile, withoutServer(b, without), 0o600); err != nil {
		return err
	}
	start := filepath.Join(s.state, "haproxy.start")
	script, err := os.ReadFile(start)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(script), s.runner.file("haproxy", "haproxy.cfg"), s.doorFile, 1)
	if changed == string(script) {
		return fmt.Errorf("%s does not start HAProxy with haproxy/haproxy.cfg", start)
	}
	if err := os.WriteFile(start, []byte(changed), 0o600); err != nil {
		return err
	}
	pid, err := s.pid("haproxy")
	if err != nil {
		return err
	}
	if err := s.signal("haproxy", syscall.SIGKILL); err != nil {
		return err
	}
	if err := awaitEnd(ctx, pid); err != nil {
		return err
	}
	return s.again(ctx, "haproxy")
}

// reload reloads HAProxy with the repository's file, less a node.
func (s *scene) reload(without string) error {
	b, err := os.ReadFile(s.runner.file("haproxy", "haproxy.cfg"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.doorFile, withoutServer(b, without), 0o600); err != nil {
		return err
	}
	return s.signal("haproxy", syscall.SIGUSR2)
}

// withoutServer leaves out the lines of a server.
func withoutServer(file []byte, name string) []byte {
	var kept []byte
	for line := range strings.Lines(string(file)) {
		if !strings.HasPrefix(strings.TrimSpace(line), "server "+name+" ") {
			kept = append(kept, line...)
		}
	}
	return kept
}
