package chattest

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A test binary that ends without any clean-up takes its redis-server with it.
func TestRedisDiesWithItsTest(t *testing.T) {
	if os.Getenv("CHATTEST_ORPHAN") != "" {
		os.Stdout.WriteString("at " + StartRedis(t).Addr + "\n")
		select {} // until it is killed
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestRedisDiesWithItsTest$")
	cmd.Env = append(os.Environ(), "CHATTEST_ORPHAN=yes", "TMPDIR="+t.TempDir()) // it is killed, and tidies nothing
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "at ")
	if !ok {
		t.Fatalf("the test said %q, %v", line, err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return
		}
		c.Close()
		if time.Now().After(end) {
			t.Fatalf("redis-server at %s outlives its test", addr)
		}
	}
}
