package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// preparePeer builds or installs a peer, once. Without it the others can be measured.
func (b *bench) preparePeer(ctx context.Context, system string) {
	if system == ours || b.peers[system] != "" || b.absent[system] != nil {
		return
	}
	module := filepath.Join(b.root, "loadtest", "peers")
	var err error
	switch system {
	case "socketio":
		b.peers[system] = filepath.Join(module, "socketio", "run")
		err = b.installSocketIO(ctx)
	case "nats":
		b.peers[system], err = build(ctx, module, filepath.Join(b.dir, "nats-server"), "github.com/nats-io/nats-server/v2")
	default:
		b.peers[system], err = build(ctx, module, filepath.Join(b.dir, system), "./"+system)
	}
	if err != nil {
		b.absent[system] = err
		fmt.Fprintf(os.Stderr, "bench: %s cannot be had: %v\n", titles[system], err)
	}
}

func (b *bench) installSocketIO(ctx context.Context) error {
	if _, err := exec.LookPath("npm"); err != nil {
		if said, err := exec.CommandContext(ctx, filepath.Join(b.root, "scripts", "install-debian"), "nodejs", "npm").CombinedOutput(); err != nil {
			return fmt.Errorf("install Node.js: %w\n%s", err, tail(string(said)))
		}
	}
	if said, err := exec.CommandContext(ctx, b.peers["socketio"], "--install").CombinedOutput(); err != nil {
		return fmt.Errorf("install Socket.IO: %w\n%s", err, tail(string(said)))
	}
	return nil
}

// peer is how a peer is started that listens on an address.
func (b *bench) peer(system, address string) (env, command []string) {
	program := b.peers[system]
	switch system {
	case "socketio":
		return nil, []string{program, "--listen", address}
	case "nats":
		return []string{"NATS_WEBSOCKET=" + address}, []string{program, "-c", filepath.Join(b.root, "loadtest", "peers", "nats", "nats.conf")}
	default:
		return nil, []string{program, "-listen", address}
	}
}

// peerBehind starts nodes of a peer that hear of each other, and HAProxy before them.
func (s *stage) peerBehind(ctx context.Context, system string, nodes int) (pids []int, err error) {
	at := func(offset int) string { return fmt.Sprintf("127.0.0.1:%d", s.port+offset) }
	begin := func(name, address string, env []string, command ...string) {
		if err != nil {
			return
		}
		var p *part
		if p, err = s.start(name, anyCore, env, command...); err == nil {
			pids = append(pids, p.cmd.Process.Pid)
			err = p.await(ctx, address)
		}
	}
	var between []string // flags by which a node finds the others
	switch system {
	case "socketio":
		begin("redis", at(90), nil, "redis-server", "--port", fmt.Sprint(s.port+90), "--bind", "127.0.0.1", "--save", "", "--dir", s.dir)
		between = []string{"--redis", "redis://" + at(90)}
	case "nats":
		var routes []string
		for i := range nodes {
			routes = append(routes, "nats://"+at(41+i))
		}
		between = []string{"-cluster_name", "bench", "-no_advertise", "-routes", strings.Join(routes, ",")}
	}
	doors := []string{"BIND_HTTP=" + at(0)}
	for i := range nodes {
		address := at(i + 1)
		env, command := s.peer(system, address)
		command = append(command, between...)
		if system == "nats" {
			command = append(command, "-cluster", "nats://"+at(41+i))
		}
		begin(fmt.Sprintf("%s %d", system, i+1), address, env, command...)
		doors = append(doors, fmt.Sprintf("PEER%d_ADDR=%s", i+1, address))
	}
	begin("haproxy", at(0), doors, "haproxy", "-W", "-db", "-f", filepath.Join(s.root, "loadtest", "peers", "haproxy.cfg"))
	return pids, err
}
