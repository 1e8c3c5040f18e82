package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chatring/chatring/app/gateway"
)

// childEnv makes this test binary the node of TestDescriptorsRunOut.
const childEnv = "GATEWAY_TEST_CHILD"

// A node whose descriptors run out lives, serves whom it has, refuses others with
// what it keeps in reserve, waits between its attempts, says so once, and accepts
// again as soon as there are some.
func TestDescriptorsRunOut(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		serveWithFewDescriptors(t)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDescriptorsRunOut$", "-test.v")
	child.Env = append(os.Environ(), childEnv+"=1")
	stdin, _ := child.StdinPipe()
	stdout, _ := child.StdoutPipe()
	stderr, _ := child.StderrPipe()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var warnings atomic.Int64
	warned, logged := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(logged)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if strings.Contains(lines.Text(), "no connection can be accepted") && warnings.Add(1) == 1 {
				close(warned)
			}
		}
	}()
	lines := bufio.NewScanner(stdout)
	address := waitFor(t, lines, "address ")
	n := &node{dial: dialer(t, address)}

	first := n.upgraded(t, "/ws/chat/lobby?user=first", "")
	var crowd []net.Conn
	for late := time.After(10 * time.Second); ; {
		c, err := n.dial()
		if err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, c)
		select {
		case <-warned:
		case <-late:
			t.Fatal("waited in vain for the node's warning")
		case <-time.After(20 * time.Millisecond): // the next one before it asks anything
			continue
		}
		break
	}
	resp, body := n.connect(t).request(request("/ws/chat/lobby?user=late", nil))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !resp.Close {
		t.Errorf("without descriptors: %s (%v) %s", resp.Status, resp.Header, body)
	}
	time.Sleep(500 * time.Millisecond) // what it does in a time is what is measured
	first.send(masked(fin|text, `{"id":1,"cmd":"publish","room":"lobby","data":"still served"}`))
	first.hear("still served")
	for _, c := range crowd {
		_ = c.Close()
	}
	eventually(t, "a second socket", func() bool {
		resp, _ := n.connect(t).request(request("/ws/chat/lobby?user=second", nil))
		return resp.StatusCode == 101
	})

	_ = stdin.Close()
	var waits int
	if _, err := fmt.Sscan(waitFor(t, lines, "waits "), &waits); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stdout)
	<-logged
	if err := child.Wait(); err != nil {
		t.Fatalf("the node ended with %v", err)
	}
	if waits < 1 || waits > 50 {
		t.Errorf("the node tried %d times, want a few", waits)
	}
	if got := warnings.Load(); got != 1 {
		t.Errorf("the node warned %d times, want once", got)
	}
}

func waitFor(t *testing.T, lines *bufio.Scanner, prefix string) string {
	t.Helper()
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), prefix); ok {
			return rest
		}
	}
	t.Fatalf("the node ended without %q", prefix)
	return ""
}

// serveWithFewDescriptors is the child process: a node until stdin ends.
func serveWithFewDescriptors(t *testing.T) {
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 40, Max: 40}); err != nil {
		t.Fatal(err)
	}
	n := serve(t)
	c, err := n.dial()
	if err != nil {
		t.Fatal(err)
	}
	address := c.RemoteAddr().String()
	_ = c.Close()
	fmt.Println("address", address)
	_, _ = io.Copy(io.Discard, os.Stdin)
	fmt.Println("waits", n.counted(t, "chatring_accept_waits_total", ""))
}

// scarce is a listener to which connections come for which there is a
// descriptor, and (nil) those for which there is none at first.
type scarce struct {
	net.Listener
	next []net.Conn
}

func (l *scarce) Accept() (net.Conn, error) {
	c := l.next[0]
	if l.next = l.next[1:]; c == nil {
		return nil, syscall.EMFILE
	}
	return c, nil
}

// For as long as a connection is open that has a descriptor of the reserve, and
// will be closed for it, nobody gets a socket.
func TestLastConnectionsAreNoSockets(t *testing.T) {
	n := serve(t)
	status := func() int {
		w := httptest.NewRecorder()
		n.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/ws/chat/lobby?user=u", nil))
		return w.Code
	}
	var ends [4]net.Conn
	for i := range ends {
		ends[i], _ = net.Pipe()
	}
	l := gateway.NewListener(&scarce{next: []net.Conn{nil, ends[0], nil, ends[1], ends[2], ends[3]}}, n.Gateway)
	accept := func() net.Conn {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, two := accept(), accept()
	_ = one.Close()
	accept()
	if got := status(); got != 503 {
		t.Errorf("while a last connection is open: %d, want 503", got)
	}
	_ = two.Close()
	accept()
	if got := status(); got != 426 {
		t.Errorf("afterwards: %d, want 426, as it is no handshake", got)
	}
}
