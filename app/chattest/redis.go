package chattest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Redis is a redis-server of a test's own: on a free port of the loopback
// interface, in a folder of its own, gone when the test ends.
type Redis struct {
	Addr string // host:port; stays the same over restarts

	t    testing.TB
	dir  string
	args []string
	cmd  *exec.Cmd
}

// StartRedis starts a redis-server with arguments such as "--appendonly",
// "yes", and returns when it answers. Without arguments it keeps nothing on
// disk. A test without redis-server installed fails.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := &Redis{Addr: freeAddr(t), t: t, dir: t.TempDir(), args: args}
	t.Cleanup(r.Kill)
	r.Start()
	return r
}

// URL returns the address as redis://…
func (r *Redis) URL() string { return "redis://" + r.Addr }

// Start starts the server again, on what it kept on disk, and returns when it
// answers.
func (r *Redis) Start() {
	r.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Fatal("redis-server is not installed; on Debian: apt-get install redis-server")
	}
	host, port, _ := net.SplitHostPort(r.Addr)
	logfile := filepath.Join(r.dir, "redis.log")
	r.cmd = exec.Command(path, append([]string{
		"--bind", host, "--port", port, "--dir", r.dir, "--logfile", logfile, "--save", "",
	}, r.args...)...)
	r.cmd.SysProcAttr = dieWithTest()
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := ping(r.Addr)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(logfile)
			r.t.Fatalf("redis-server does not answer: %v\n%s", err, log)
		}
	}
}

// Kill ends the server as a crash does (SIGKILL) and waits for its end.
func (r *Redis) Kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait() // says that it was killed
	r.cmd = nil
}

// Pause stops the server from running; its sockets stay open. Resume lets it
// run on.
func (r *Redis) Pause()  { r.signal(syscall.SIGSTOP) }
func (r *Redis) Resume() { r.signal(syscall.SIGCONT) }

func (r *Redis) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// ping returns nil when the server has read what it kept, even if it wants a
// password first.
func ping(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprint(c, "PING\r\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if strings.HasPrefix(answer, "-LOADING") {
		return errors.New(strings.TrimSpace(answer))
	}
	return nil
}

// freeAddr returns an address of the loopback interface that nobody listens
// on.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
