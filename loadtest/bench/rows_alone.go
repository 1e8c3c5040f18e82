package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Figures of Centrifugo, which no public registry has as a program to install, and of
// the yardstick in the same run.
const centrifugo = "Centrifugo 6.9, memory engine"

var centrifugoAlone = map[string]earlier{
	"closed":  {centrifugo, figures{perCPU.key: 490_000}, 176_000},
	"rate50":  {centrifugo, figures{perCPU.key: 64_000}, 90_000},
	"rate200": {centrifugo, figures{perCPU.key: 206_000, p50.key: 16, p99.key: 51}, 157_000},
}

// roomRow is one room on one server, whose core is its own.
func roomRow(name string, l load, quick bool, asks string) row {
	r := row{
		name: name, asks: asks + "; one server, without HAProxy and Redis", contender: "server",
		metrics: []metric{perCPU, p50, p99, came, busy, ownBusy},
		ratios:  []ratio{better, ofFloor},
		earlier: []earlier{centrifugoAlone[name]},
		quick:   quick, beside: 3 * time.Second,
	}
	for _, system := range systems {
		r.lines = append(r.lines, line{name: titles[system], system: system, run: func(ctx context.Context, s *stage, of *run) (err error) {
			var args []string
			if system == "floor" {
				if args, err = s.floorFlags(ctx, l); err != nil {
					return err
				}
			}
			to, err := s.alone(ctx, system, args...)
			if err == nil {
				_, err = s.talk(ctx, to, of, l)
			}
			return err
		}})
	}
	return r
}

// idleRow is what members cost that say nothing.
func idleRow() row {
	r := row{
		name: "idle", asks: "memory of joined members that say nothing: 8,000 in 800 rooms of one server", contender: "server",
		metrics: []metric{eachKB, roomKB, idleCPU},
		ratios:  []ratio{better},
		earlier: []earlier{{name: centrifugo, figures: figures{eachKB.key: 45}}},
		quick:   true, rounds: 2, beside: 14 * time.Second,
	}
	for _, system := range systems[1:] {
		r.lines = append(r.lines, line{name: titles[system], system: system, run: func(ctx context.Context, s *stage, of *run) error {
			to, err := s.alone(ctx, system)
			if err != nil {
				return err
			}
			args := []string{"-n", "8000", "-rooms", "800", "-wait", "10s"}
			if s.quick {
				args = []string{"-n", "1000", "-rooms", "100", "-wait", "1s"}
			}
			if system == ours {
				args = append(args, "-more", "10")
			}
			var found struct {
				EachKB  float64 `json:"kb_per_connection"`
				RoomKB  float64 `json:"kb_per_additional_room"`
				IdleCPU float64 `json:"node_cpu_share_idle"`
			}
			if err := s.generate(ctx, to, of, &found, "idle", args...); err != nil {
				return err
			}
			of.Figures = figures{eachKB.key: found.EachKB, idleCPU.key: found.IdleCPU}
			if system == ours {
				of.Figures[roomKB.key] = found.RoomKB
			}
			return nil
		}})
	}
	return r
}

// connectRow is the way into a room, with a token to check.
func connectRow() row {
	return row{
		name: "connect", asks: "handshakes with a token that the node checks (HS256), into a room of one node", contender: "server",
		metrics: []metric{upgrades, busy, ownBusy},
		quick:   true, beside: 4 * time.Second,
		lines: []line{{name: ours, system: ours, run: func(ctx context.Context, s *stage, of *run) error {
			secret := s.file("secret")
			if err := os.WriteFile(secret, []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
				return err
			}
			flags := []string{"--auth-mode=jwt", "--auth-secret-file=" + secret}
			to, err := s.alone(ctx, ours, flags...)
			if err != nil {
				return err
			}
			token, err := exec.CommandContext(ctx, s.node, append([]string{"token", "--user=alice"}, flags...)...).Output()
			if err != nil {
				return fmt.Errorf("make a token: %w", err)
			}
			var found struct {
				PerCPU  float64 `json:"upgrades_per_node_cpu_second"`
				CPU     float64 `json:"node_cpu_seconds"`
				OwnCPU  float64 `json:"generator_cpu_seconds"`
				Seconds float64 `json:"seconds"`
			}
			err = s.generate(ctx, to, of, &found, "connect", "-token", strings.TrimSpace(string(token)), "-duration", s.duration.String())
			of.Figures = figures{upgrades.key: found.PerCPU, busy.key: found.CPU / found.Seconds, ownBusy.key: found.OwnCPU / found.Seconds}
			return err
		}}},
	}
}

// joinRow is what a node does, out of its memory, for a member that comes back, and
// for one that asks what was said.
func joinRow() row {
	return row{
		name: "join", asks: "a join of a member who has missed 256 messages, a history of 256, and a join that brings nothing, from a node's memory", contender: "server",
		metrics: []metric{backCPU, historyCPU, joinCPU},
		quick:   true, beside: 6 * time.Second,
		lines: []line{{name: ours, system: ours, run: func(ctx context.Context, s *stage, of *run) error {
			to, err := s.alone(ctx, ours)
			if err != nil {
				return err
			}
			type errand struct {
				CPU float64 `json:"node_cpu_us_each"`
			}
			var found struct {
				Back    errand `json:"return_after_missing"`
				History errand `json:"history"`
				Join    errand `json:"return_up_to_date"`
			}
			var args []string
			if s.quick {
				args = []string{"-n", "50", "-rounds", "5"}
			}
			err = s.generate(ctx, to, of, &found, "return", args...)
			of.Figures = figures{backCPU.key: found.Back.CPU, historyCPU.key: found.History.CPU, joinCPU.key: found.Join.CPU}
			return err
		}}},
	}
}
