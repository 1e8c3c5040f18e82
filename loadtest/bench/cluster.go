package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A cluster is one that scripts/up has started.
type cluster struct {
	root  string // of the repository
	state string
	port  int
	nodes int
	env   []string // beside that of this program
}

// startCluster starts one, on the stage's ports, which ends with the stage.
func (s *stage) startCluster(ctx context.Context, nodes int, env ...string) error {
	c := &cluster{root: s.root, state: s.file("state"), port: s.port, nodes: nodes}
	c.env = append(env, "CHATRING_BIN="+s.node)
	s.cluster = c
	s.typed(env, []string{"scripts/up", "-d", "--shards", strconv.Itoa(nodes)})
	_, err := c.script(ctx, "scripts/up", "-d", "--port", strconv.Itoa(s.port), "--shards", strconv.Itoa(nodes))
	return err
}

// stop ends it. It takes no context: it must happen whatever has ended.
func (c *cluster) stop() error {
	_, err := c.script(context.Background(), "scripts/down", "--wipe")
	return err
}

func (c *cluster) script(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, name), args...)
	cmd.Env = append(append(os.Environ(), "CHATRING_STATE="+c.state, "CHATRING_STOP_GRACE=1"), c.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(string(out)))
	}
	return string(out), nil
}

// ask runs redis-cli as the operator.
func (c *cluster) ask(ctx context.Context, args ...string) (string, error) {
	out, err := c.script(ctx, "scripts/redis", append([]string{"cli", "-e"}, args...)...)
	return strings.TrimSpace(out), err
}

// metrics are where the nodes tell what they count.
func (c *cluster) metrics() (urls []string) {
	for i := range c.nodes {
		urls = append(urls, fmt.Sprintf("http://127.0.0.1:%d/metrics", c.port+101+i))
	}
	return urls
}

// processes are those of all parts, by the parts' names.
func (c *cluster) processes() (map[string]int, error) {
	pids := make(map[string]int)
	parts := []string{"redis", "haproxy"}
	for i := range c.nodes {
		parts = append(parts, fmt.Sprintf("ws%d", i+1))
	}
	for _, part := range parts {
		b, err := os.ReadFile(filepath.Join(c.state, part+".pid"))
		if err != nil {
			return nil, err
		}
		if pids[part], err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			return nil, fmt.Errorf("the process of %s: %w", part, err)
		}
	}
	return pids, nil
}
