package main

import (
	"bytes"
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

// nodes is how many nodes a cluster has.
const nodes = 4

// A cluster is one that scripts/up has started, each node of which reaches Redis
// through a proxy of its own. All methods may be called concurrently.
type cluster struct {
	root  string // of the repository
	state string
	port  int
	env   []string // of scripts/up, beside that of this program
	redis [nodes]*proxy

	// Guarded by mu.
	mu    sync.Mutex
	began map[string]int  // part → process, when all was up
	ended map[string]bool // parts that a fault has ended
	gone  map[int]bool    // the processes that they were
}

// startCluster starts one on port and those that follow, with its state in a
// folder of work. It is stopped by stop, also when this fails.
func startCluster(ctx context.Context, root, work string, port int, env []string) (*cluster, error) {
	c := &cluster{
		root: root, state: filepath.Join(work, "state"), port: port,
		began: make(map[string]int), ended: make(map[string]bool), gone: make(map[int]bool),
	}
	c.env = append([]string{"CHATRING_STATE=" + c.state}, env...)
	for i := range c.redis {
		p, err := newProxy(fmt.Sprintf("127.0.0.1:%d", port+90))
		if err != nil {
			return c, err
		}
		c.redis[i] = p
		c.env = append(c.env, fmt.Sprintf("WS%d_CHATRING_REDIS_URL=redis://%s/0", i+1, p.addr))
	}
	if err := c.up(ctx, "-d", "--port", strconv.Itoa(port), "--shards", strconv.Itoa(nodes)); err != nil {
		return c, err
	}
	for _, part := range c.parts() {
		pid, err := c.pid(part)
		if err != nil {
			return c, err
		}
		c.began[part] = pid
	}
	return c, nil
}

// stop ends everything that startCluster has started. It takes no context: it
// must happen whatever has ended.
func (c *cluster) stop() error {
	// A stopped process hears no SIGTERM.
	for _, part := range c.parts() {
		if pid, err := c.pid(part); err == nil {
			syscall.Kill(pid, syscall.SIGCONT) //nolint:errcheck // it may have ended
		}
	}
	_, err := c.script(context.Background(), "scripts/down", "--wipe")
	for _, p := range c.redis {
		if p != nil {
			p.close()
		}
	}
	return err
}

// up runs scripts/up.
func (c *cluster) up(ctx context.Context, args ...string) error {
	_, err := c.script(ctx, "scripts/up", args...)
	return err
}

func (c *cluster) script(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, name), args...)
	cmd.Env = append(append(os.Environ(), "CHATRING_STOP_GRACE=1"), c.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// parts are the names of the cluster's processes.
func (c *cluster) parts() []string {
	parts := []string{"redis", "haproxy"}
	for i := range nodes {
		parts = append(parts, nodeName(i+1))
	}
	return parts
}

// nodeName is the name of node i, counted from 1, as scripts/up and HAProxy know
// it.
func nodeName(i int) string { return fmt.Sprintf("ws%d", i) }

// appID is the APPID of node i.
func appID(i int) string { return strings.Repeat(strconv.Itoa(i), 4) }

// front is HAProxy's address, node that of node i, both without a scheme.
func (c *cluster) front() string     { return fmt.Sprintf("127.0.0.1:%d", c.port) }
func (c *cluster) node(i int) string { return fmt.Sprintf("127.0.0.1:%d", c.port+i) }
func (c *cluster) ops(i int) string  { return fmt.Sprintf("127.0.0.1:%d", c.port+100+i) }

// pid is the process of a part, by its pid file.
func (c *cluster) pid(part string) (int, error) {
	b, err := os.ReadFile(filepath.Join(c.state, part+".pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// signal sends a signal to a part, and to its children when it is to end at once.
func (c *cluster) signal(part string, s syscall.Signal) error {
	pid, err := c.pid(part)
	if err != nil {
		return err
	}
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		c.mayEnd(part, pid)
	}
	if s == syscall.SIGKILL {
		pid = -pid // each part leads a group of its own
	}
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("%v to %s: %w", s, part, err)
	}
	return nil
}

// mayEnd says that the end of a part is the fault's doing.
func (c *cluster) mayEnd(part string, pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended[part], c.gone[pid] = true, true
}

func (c *cluster) survived(part string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ended[part]
}

// wasEnded says whether a process is one that a fault has ended.
func (c *cluster) wasEnded(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone[pid]
}

// again starts a part that has ended, or that drains.
func (c *cluster) again(ctx context.Context, part string) error {
	option := []string{"--" + part}
	if i, ok := strings.CutPrefix(part, "ws"); ok {
		option = []string{"--node", i}
	}
	return c.up(ctx, option...)
}

// awaitEnd waits until a process is gone.
func awaitEnd(ctx context.Context, pid int) error {
	for alive(pid) {
		if !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("process %d has not ended: %w", pid, ctx.Err())
		}
	}
	return nil
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(b[bytes.LastIndexByte(b, ')'):], []byte(" "))
	return !bytes.HasPrefix(state, []byte("Z"))
}

// deaths names the parts that have ended though no fault ended them, and the
// nodes that have told of a panic.
func (c *cluster) deaths() []string {
	var dead []string
	for _, part := range c.parts() {
		if c.survived(part) && !alive(c.began[part]) {
			dead = append(dead, part+" has ended")
		}
		if strings.HasPrefix(part, "ws") && bytes.Contains(c.log(part), []byte("panic")) {
			dead = append(dead, part+" tells of a panic")
		}
	}
	return dead
}

// log is what a part has written.
func (c *cluster) log(part string) []byte {
	b, _ := os.ReadFile(filepath.Join(c.state, part+".log"))
	return b
}

// logEnds is the last lines of each node's log, for a row that has failed.
func (c *cluster) logEnds() string {
	var all strings.Builder
	for _, part := range c.parts() {
		lines := strings.Split(strings.TrimSpace(string(c.log(part))), "\n")
		if part == "haproxy" {
			continue // a line for each socket
		}
		fmt.Fprintf(&all, "--- the end of %s.log\n%s\n", part, strings.Join(lines[max(0, len(lines)-8):], "\n"))
	}
	return all.String()
}

// ask runs redis-cli as the operator, without the proxies.
func (c *cluster) ask(ctx context.Context, args ...string) (string, error) {
	out, err := c.script(ctx, "scripts/redis", append([]string{"cli", "-e"}, args...)...)
	return strings.TrimSpace(out), err
}

// logReads is how often Redis has run the commands that read a log.
func (c *cluster) logReads(ctx context.Context) (int, error) {
	stats, err := c.ask(ctx, "info", "commandstats")
	if err != nil {
		return 0, err
	}
	return countCalls(stats, "xrange", "xrevrange", "xread", "xinfo|stream"), nil
}

func countCalls(stats string, commands ...string) int {
	n := 0
	for _, command := range commands {
		_, rest, ok := strings.Cut(stats, "cmdstat_"+command+":calls=")
		if !ok {
			continue
		}
		calls, _, _ := strings.Cut(rest, ",")
		k, err := strconv.Atoi(calls)
		if err == nil {
			n += k
		}
	}
	return n
}

// repository is the folder that has go.mod, from here upwards.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside the repository")
		}
	}
}

// build builds a command of the repository into a folder.
func build(ctx context.Context, root, dir, pkg string, flags ...string) (string, error) {
	out := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", out}, flags...), pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, b)
	}
	return out, nil
}

// sleep waits, and is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
