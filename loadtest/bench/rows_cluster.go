package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// The loads of clusters.
var (
	smallRooms = load{500, 10, 2000}
	largeRooms = load{5, 1000, 50}
)

// clusterRow is a load through HAProxy on four nodes.
func clusterRow(name string, l load, quick bool, asks string) row {
	r := row{
		name: name, asks: asks, contender: "cluster",
		metrics: []metric{perCPU, p50, p99, came, ofProxy, ofNodes, ofRedis, ownBusy},
		remark:  "µs: CPU time per delivery. The floor: four of them that know nothing of each other, with a room on one of them, and no Redis. The generator's share is of one CPU of those that all have together. " + otherwiseIs[name],
		ratios:  []ratio{better, ofFloor},
		earlier: []earlier{{name: centrifugo, figures: map[string]figures{
			"cluster-small": {perCPU.key: 15_600, p99.key: 10},
			"cluster-large": {perCPU.key: 32_700, p99.key: 434},
		}[name]}},
		quick: quick, beside: 9 * time.Second,
	}
	for _, system := range []string{"floor", ours, "socketio", "nats"} {
		r.lines = append(r.lines, line{name: titles[system], system: system, run: func(ctx context.Context, s *stage, of *run) (err error) {
			var args []string
			if system == "floor" {
				if args, err = s.floorFlags(ctx, l); err != nil {
					return err
				}
			}
			to, err := s.behind(ctx, system, 4, args...)
			if err == nil {
				err = s.talkThrough(ctx, to, of, l)
			}
			return err
		}})
	}
	r.lines = slices.Insert(r.lines, 2, otherwise[name])
	return r
}

// otherwise is chatring set up for less processor time: with a Redis that writes to
// its disk once a second, and with rooms that rest for longer than they do by
// themselves.
var otherwise = map[string]line{
	"cluster-small": {name: ours + ", everysec", system: ours, slow: true, run: func(ctx context.Context, s *stage, of *run) error {
		to, err := s.behind(ctx, ours, 4)
		if err != nil {
			return err
		}
		if _, err := s.cluster.ask(ctx, "config", "set", "appendfsync", "everysec"); err != nil {
			return err
		}
		return s.talkThrough(ctx, to, of, smallRooms)
	}},
	"cluster-large": {name: ours + ", long rests", system: ours, slow: true, run: func(ctx context.Context, s *stage, of *run) error {
		to, err := s.behind(ctx, ours, 4, "CHATRING_ROOM_REST=200us", "CHATRING_ROOM_GATHER=200ms")
		if err != nil {
			return err
		}
		return s.talkThrough(ctx, to, of, largeRooms)
	}},
}

// otherwiseIs says how.
var otherwiseIs = map[string]string{
	"cluster-small": "everysec: Redis with `appendfsync everysec`, which scripts/up sets to `always`.",
	"cluster-large": "Long rests: `room.rest=200µs`, `room.gather=200ms`.",
}

// talkThrough has members speak, and says which part of the cluster took how much.
func (s *stage) talkThrough(ctx context.Context, to server, of *run, l load) error {
	found, err := s.talk(ctx, to, of, l)
	if err != nil {
		return err
	}
	of.Figures.perPart(found.Processes, found.Deliveries, ofNodes, ofProxy, ofRedis)
	return nil
}

// publishRow is what Redis costs, and with it a message that nobody hears.
func publishRow() row {
	r := row{
		name: "publish", asks: "acknowledged publications through HAProxy, four nodes and Redis", contender: "Redis keeps the log",
		metrics: []metric{perRedis, perSec, redisPub, nodesPub, proxyPub},
		remark:  "µs: CPU time per publication.",
		quick:   true, beside: 8 * time.Second,
	}
	for _, fsync := range []string{"always", "everysec", "no"} {
		name := "`appendfsync " + fsync + "`"
		r.lines = append(r.lines, line{name: name, system: ours, slow: fsync != "always", run: func(ctx context.Context, s *stage, of *run) error {
			to, err := s.behind(ctx, ours, 4)
			if err != nil {
				return err
			}
			if _, err := s.cluster.ask(ctx, "config", "set", "appendfsync", fsync); err != nil {
				return err
			}
			var found struct {
				Acked     float64 `json:"acknowledged"`
				PerSec    float64 `json:"acknowledged_per_second"`
				Processes []use   `json:"processes"`
			}
			if err := s.generate(ctx, to, of, &found, "publish", "-duration", s.duration.String(), "-warm", s.warm().String()); err != nil {
				return err
			}
			of.Figures = figures{perSec.key: found.PerSec}
			of.Figures.perPart(found.Processes, found.Acked, nodesPub, proxyPub, redisPub)
			of.Figures[perRedis.key] = 1e6 / of.Figures[redisPub.key]
			return nil
		}})
	}
	return r
}

// scaleLoad is what each node has to do: a cluster has more nodes because it has
// more to do. It is modest, so that HAProxy, eight nodes, Redis and the generator have
// enough of two cores, however the rooms are spread.
var scaleLoad = load{60, 10, 150}

var scaleNodes = []int{1, 2, 4, 8}

// scaleRow is the same load on ever more nodes, with the hash and without.
func scaleRow() row {
	r := row{
		name: "scale", asks: "60 rooms of 10 and 150 messages a second for each of 1 to 8 nodes, placed by consistent hashing and one after the other", contender: "HAProxy's balance, nodes",
		metrics: []metric{all, ofProxy, ofNodes, ofRedis, bridged, p99},
		ratios:  []ratio{{"of one node's cost", scaleName("hash", 1), multiple}},
		remark:  "roundrobin: haproxy.cfg with \"balance roundrobin\" instead of \"balance hash var(txn.room)\" and \"hash-type consistent\", and nodes that lead nobody home (CHATRING_HOME_URL empty). Other members' coming and going is not counted in the messages.",
		quick:   true, rounds: 2, beside: 8 * time.Second,
	}
	for _, balance := range []string{"hash", "roundrobin"} {
		for _, nodes := range scaleNodes {
			r.lines = append(r.lines, line{name: scaleName(balance, nodes), system: ours, slow: nodes != 2, run: func(ctx context.Context, s *stage, of *run) error {
				return s.scale(ctx, of, balance, nodes)
			}})
		}
	}
	return r
}

func scaleName(balance string, nodes int) string { return fmt.Sprintf("%s, %d", balance, nodes) }

func (s *stage) scale(ctx context.Context, of *run, balance string, nodes int) error {
	var env []string
	if balance == "roundrobin" {
		file, err := s.roundRobin()
		if err != nil {
			return err
		}
		// Nobody is led to the home of a room that has none.
		env = []string{"HAPROXY_CFG=" + file, "CHATRING_HOME_URL="}
	}
	to, err := s.behind(ctx, ours, nodes, env...)
	if err != nil {
		return err
	}
	var each float64
	var counting errgroup.Group
	watching, done := context.WithCancel(ctx)
	counting.Go(func() (err error) {
		each, err = countBridged(watching, s.cluster.metrics(), s.duration)
		return err
	})
	err = s.talkThrough(ctx, to, of, load{scaleLoad.rooms * nodes, scaleLoad.members, scaleLoad.rate * float64(nodes)})
	done()
	if counted := counting.Wait(); err == nil {
		err = counted
	}
	if err == nil {
		of.Figures[bridged.key] = each
		if balance == "hash" && each > 0.01 {
			of.Wrong = fmt.Sprintf("%.2f messages per publication between nodes of which one alone has the room", each)
		}
	}
	return err
}

// roundRobin is haproxy.cfg with the one line changed that says which node a socket
// goes to.
func (s *stage) roundRobin() (string, error) {
	b, err := os.ReadFile(filepath.Join(s.root, "haproxy", "haproxy.cfg"))
	if err != nil {
		return "", err
	}
	text, err := withoutHash(string(b))
	if err != nil {
		return "", err
	}
	file := s.file("roundrobin.cfg")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

const hashLine = "\n    balance hash var(txn.room)\n    hash-type consistent\n"

func withoutHash(cfg string) (string, error) {
	if !strings.Contains(cfg, hashLine) {
		return "", fmt.Errorf("haproxy.cfg has no place with %q", hashLine)
	}
	return strings.ReplaceAll(cfg, hashLine, "\n    balance roundrobin\n"), nil
}
