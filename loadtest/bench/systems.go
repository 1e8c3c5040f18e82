package main

import (
	"context"
	"fmt"
)

// systems are what is measured, as -only names them. The names in the tables are in
// titles.
var systems = []string{"floor", "chatring", "broadcast", "nats", "socketio"}

const ours = "chatring"

var titles = map[string]string{
	"floor": "floor", "chatring": ours, "broadcast": yardstick, "nats": "NATS", "socketio": "Socket.IO",
}

// wires are how the generator speaks to each.
var wires = map[string]string{
	"floor": "plain", "chatring": "chatring", "broadcast": "plain", "nats": "nats", "socketio": "socketio",
}

// A server is what the generator talks to.
type server struct {
	wire string
	url  string
	pids []int // whose processor time and memory count
	core int   // of the generator
}

// lifted are the limits that a load from a few users who say more than people do
// would meet first. scripts/up lifts them by itself.
var lifted = []string{
	"CHATRING_GATEWAY_HANDSHAKES=0", "CHATRING_GATEWAY_SOCKETS_PER_USER=0", "CHATRING_SESSION_MESSAGES=0", "CHATRING_SESSION_BYTES=0",
	"CHATRING_SESSION_FRAMES=0", "CHATRING_USER_MESSAGES=0", "CHATRING_USER_BYTES=0", "CHATRING_USER_ROOMS=0",
}

// alone starts one server without HAProxy and Redis, on a core of its own.
func (s *stage) alone(ctx context.Context, system string, args ...string) (server, error) {
	address := fmt.Sprintf("127.0.0.1:%d", s.port)
	var env []string
	var command []string
	switch system {
	case "chatring":
		env = append([]string{"CHATRING_LISTEN=" + address, "CHATRING_OPS_LISTEN="}, lifted...)
		command = []string{s.node}
	default:
		env, command = s.peer(system, address)
	}
	p, err := s.start(system, serverCore, env, append(command, args...)...)
	if err != nil {
		return server{}, err
	}
	return server{wires[system], "ws://" + address, []int{p.cmd.Process.Pid}, generatorCore}, p.await(ctx, address)
}

// behind starts nodes of a system behind HAProxy, with Redis where the system wants
// one. Nothing has a core of its own. What is set is chatring's environment, or
// arguments of another system.
func (s *stage) behind(ctx context.Context, system string, nodes int, set ...string) (server, error) {
	to := server{wire: wires[system], url: fmt.Sprintf("ws://127.0.0.1:%d", s.port), core: anyCore}
	if system != "chatring" {
		var err error
		to.pids, err = s.peerBehind(ctx, system, nodes, set)
		return to, err
	}
	if err := s.startCluster(ctx, nodes, set...); err != nil {
		return to, err
	}
	pids, err := s.cluster.processes()
	for _, pid := range pids {
		to.pids = append(to.pids, pid)
	}
	return to, err
}
