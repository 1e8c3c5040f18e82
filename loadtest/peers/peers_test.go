// Package peers_test speaks to each peer as the load generator does, and sees
// that it does what it is measured for.
package peers_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// programs is the folder with what TestMain has built.
var programs string

func TestMain(m *testing.M) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func build(m *testing.M) (int, error) {
	var err error
	if programs, err = os.MkdirTemp("", "peers"); err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(programs) }()
	for _, args := range [][]string{
		{"build", "-race", "-o", programs, "./broadcast"},
		{"build", "-o", programs, "./floor"}, // one goroutine, which has nobody to race with
		{"build", "-o", filepath.Join(programs, "nats-server"), "github.com/nats-io/nats-server/v2"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return m.Run(), nil
}

func program(name string, args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(programs, name), args...)
}

func natsCommand(address string, args ...string) *exec.Cmd {
	cmd := program("nats-server", append([]string{"-c", "nats/nats.conf"}, args...)...)
	cmd.Env = append(os.Environ(), "NATS_WEBSOCKET="+address)
	return cmd
}

func socketioCommand(t *testing.T, address string, args ...string) *exec.Cmd {
	t.Helper()
	for _, needed := range []string{"node", "npm"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Fatalf("%s is not installed (scripts/install-debian nodejs npm)", needed)
		}
	}
	if out, err := exec.Command("socketio/run", "--install").CombinedOutput(); err != nil {
		t.Fatalf("socketio/run --install: %v\n%s", err, out)
	}
	return exec.Command("socketio/run", append([]string{"--listen", address}, args...)...)
}

// start runs cmd until the test ends, and waits until it answers at address.
// It is an error when it ends before.
func start(t *testing.T, cmd *exec.Cmd, address string) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if err := <-ended; err == nil || err.Error() != "signal: killed" {
			t.Errorf("%s: it ended by itself: %v\n%s", cmd, err, &out)
		}
	})
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) || len(ended) > 0 {
			t.Fatalf("%s: %v", cmd, err)
		}
	}
}

var peers = []struct {
	name  string
	wire  wire
	start func(t *testing.T, address string) *exec.Cmd
}{
	{"floor", plain, func(_ *testing.T, address string) *exec.Cmd { return program("floor", "-listen", address) }},
	{"broadcast", plain, func(_ *testing.T, address string) *exec.Cmd { return program("broadcast", "-listen", address) }},
	{"nats", nats, func(_ *testing.T, address string) *exec.Cmd { return natsCommand(address) }},
	{"socketio", socketio, func(t *testing.T, address string) *exec.Cmd { return socketioCommand(t, address) }},
}

// Members of a room hear every message once, in the order of the one who says
// them; those of another room hear nothing of it.
func TestRooms(t *testing.T) {
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			address := freeAddress(t)
			start(t, p.start(t, address), address)
			a := enter(t, p.wire, address, "lobby", "a")
			b := enter(t, p.wire, address, "lobby", "b")
			c := enter(t, p.wire, address, "elsewhere", "c")
			for i := range 50 {
				a.say(fmt.Sprint(i))
			}
			for _, m := range []*member{a, b} {
				for i := range 50 {
					if got := m.next(); got != fmt.Sprint(i) {
						t.Fatalf("%s heard %q, want %d", m.name, got, i)
					}
				}
			}
			b.say("by b")
			c.say("by c")
			for _, m := range []*member{a, b} {
				if got := m.next(); got != "by b" {
					t.Errorf("%s heard %q, want what b said", m.name, got)
				}
			}
			if got := c.next(); got != "by c" {
				t.Errorf("c heard %q of another room", got)
			}
			if p.name == "socketio" {
				a.acknowledged(50)
			}
		})
	}
}

// The nodes of a cluster pass messages on to each other, and HAProxy spreads
// members over them.
func TestClusters(t *testing.T) {
	t.Run("nats", func(t *testing.T) {
		nodes, seed := []string{freeAddress(t), freeAddress(t)}, "nats://"+freeAddress(t)
		cluster := []string{"-cluster_name", "peers", "-no_advertise", "-cluster"}
		start(t, natsCommand(nodes[0], append(cluster, seed)...), nodes[0])
		start(t, natsCommand(nodes[1], append(cluster, "nats://127.0.0.1:-1", "-routes", seed)...), nodes[1])
		testCluster(t, nats, nodes)
	})
	t.Run("socketio", func(t *testing.T) {
		redis := freeAddress(t)
		_, port, _ := net.SplitHostPort(redis)
		start(t, exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir()), redis)
		nodes := []string{freeAddress(t), freeAddress(t)}
		for _, address := range nodes {
			start(t, socketioCommand(t, address, "--redis", "redis://"+redis), address)
		}
		testCluster(t, socketio, nodes)
	})
}

func testCluster(t *testing.T, w wire, nodes []string) {
	front := freeAddress(t)
	haproxy := exec.Command("haproxy", "-db", "-f", "haproxy.cfg")
	haproxy.Env = append(os.Environ(), "BIND_HTTP="+front)
	for i, address := range nodes {
		haproxy.Env = append(haproxy.Env, fmt.Sprintf("PEER%d_ADDR=%s", i+1, address))
	}
	start(t, haproxy, front)

	members := []*member{}
	for i, address := range append(nodes, front, front) {
		members = append(members, enter(t, w, address, "lobby", fmt.Sprintf("member %d", i)))
	}
	// Who has joined is heard of by other nodes a moment later.
	const probe = "is anybody there?"
	end := time.Now().Add(patience)
	for _, speaker := range members[:2] {
		for waiting := members; len(waiting) > 0; {
			if time.Now().After(end) {
				t.Fatalf("%s does not hear %s", waiting[0].name, speaker.name)
			}
			speaker.say(probe)
			select {
			case <-waiting[0].heard:
				waiting = waiting[1:]
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	for _, speaker := range members {
		for n := range 50 {
			speaker.say(fmt.Sprint(n))
		}
		for _, m := range members {
			for n := range 50 {
				got := m.next()
				for got == probe {
					got = m.next()
				}
				if got != fmt.Sprint(n) {
					t.Fatalf("%s speaks: %s heard %q, want %d", speaker.name, m.name, got, n)
				}
			}
		}
	}
}

// Each program says what it is.
func TestHelp(t *testing.T) {
	for name, cmd := range map[string]*exec.Cmd{
		"the floor under every fan-out":       program("floor", "-h"),
		"broadcaster of github.com/lxzan/gws": program("broadcast", "-h"),
		"rooms on socket.io":                  exec.Command("socketio/run", "--help"),
	} {
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(strings.ToLower(string(out)), name) {
			t.Errorf("%s: %v\n%s", cmd, err, out)
		}
	}
}
