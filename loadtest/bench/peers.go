package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
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

// peerBehind starts nodes of a peer that hear of each other, and HAProxy before them,
// as loadtest/peers/README.md says.
func (s *stage) peerBehind(ctx context.Context, system string, nodes int, args []string) (pids []int, err error) {
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
	if system == "socketio" {
		begin("redis", at(90), nil, "redis-server", "--port", fmt.Sprint(s.port+90), "--bind", "127.0.0.1", "--save", "", "--dir", s.dir)
	}
	doors := []string{"BIND_HTTP=" + at(0)}
	if system == "floor" { // whose nodes know nothing of each other
		doors = append(doors, "BALANCE=uri")
	}
	for i := range nodes {
		env, command := s.peer(system, at(1+i))
		command = append(command, args...)
		switch system {
		case "socketio":
			command = append(command, "--redis", "redis://"+at(90))
		case "nats":
			command = append(command, "-cluster_name", "peers", "-no_advertise", "-cluster", "nats://"+at(41+i), "-m", fmt.Sprint(s.port+61+i))
			if i > 0 {
				command = append(command, "-routes", "nats://"+at(41))
			}
		}
		begin(fmt.Sprintf("%s %d", system, i+1), at(1+i), env, command...)
		doors = append(doors, fmt.Sprintf("PEER%d_ADDR=%s", i+1, at(1+i)))
	}
	for i := 0; system == "nats" && err == nil && i < nodes; i++ {
		err = awaitRoutes(ctx, "http://"+at(61+i)+"/routez", 4*(nodes-1))
	}
	begin("haproxy", at(0), doors, "haproxy", "-W", "-db", "-f", filepath.Join(s.root, "loadtest", "peers", "haproxy.cfg"))
	return pids, err
}

// awaitRoutes waits until a NATS node is connected with the others.
func awaitRoutes(ctx context.Context, url string, want int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var says struct {
			Routes int `json:"num_routes"`
		}
		b, err := get(ctx, url)
		if err == nil {
			err = json.Unmarshal(b, &says)
		}
		if err == nil && says.Routes == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has %d routes, want %d: %w", url, says.Routes, want, errors.Join(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}
