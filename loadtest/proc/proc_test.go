package proc

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Ensure that the work of a child's child counts as that of the process that was
// started, and that each is named.
func TestUseOfDescendants(t *testing.T) {
	// The outer shells only wait. The inner one ends by itself, should the test be killed.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `sh -c 'bash -c "echo busy; while ((SECONDS < 90)); do :; done"; :'; :`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var busy int
	defer func() {
		if busy > 0 {
			if p, err := os.FindProcess(busy); err == nil {
				_ = p.Kill()
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	before, err := UsesOf([]int{cmd.Process.Pid})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range before {
		if u.Name == "bash" {
			busy = u.PID
		}
	}
	if busy == 0 || len(before) != 3 {
		t.Fatalf("found %+v, want two sh and a bash", before)
	}
	var used []Use
	for end := time.Now().Add(time.Minute); Total(used) < 0.2; {
		if time.Now().After(end) {
			t.Fatalf("after a minute: %+v", used)
		}
		time.Sleep(10 * time.Millisecond)
		after, err := UsesOf([]int{cmd.Process.Pid})
		if err != nil {
			t.Fatal(err)
		}
		used = Between(before, after)
	}
	s := Shares(used)
	if len(s) != 2 || s[0].Name != "bash" || s[0].User < 0.1 || s[1].Name != "sh" || s[1].Processes != 2 {
		t.Errorf("shares are %+v, want most of it in bash, user time, and two sh", s)
	}
	parent, err := ResidentOf([]int{busy})
	if err != nil {
		t.Fatal(err)
	}
	all, err := ResidentOf([]int{cmd.Process.Pid})
	if err != nil || all <= parent || parent <= 0 {
		t.Errorf("all take %d kB, one of them %d, %v", all, parent, err)
	}
}

// Ensure that a process counts once, and that one which does not exist is said.
func TestUseOfProcesses(t *testing.T) {
	uses, err := UsesOf([]int{os.Getpid(), os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	ours := func(u Use) bool { return u.PID == os.Getpid() }
	if n := len(slices.DeleteFunc(uses, func(u Use) bool { return !ours(u) })); n != 1 {
		t.Errorf("this process counts %d times", n)
	}
	if _, err := UsesOf([]int{1 << 30}); err == nil || !strings.Contains(err.Error(), "no process 1073741824") {
		t.Errorf("the error of a process that does not exist is %v", err)
	}
}

// Ensure that sockets count, and nothing else that is open.
func TestSockets(t *testing.T) {
	before, err := SocketsOf([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	file, err := os.Open("proc_test.go")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if after, err := SocketsOf([]int{os.Getpid()}); err != nil || after != before+3 {
		t.Errorf("%d sockets, then three more and a file: %d, %v", before, after, err)
	}
	if _, err := SocketsOf([]int{1 << 30}); err == nil || !strings.Contains(err.Error(), "process 1073741824") {
		t.Errorf("the error of a process that does not exist is %v", err)
	}
}

// Ensure that a name with spaces and parentheses does not shift the fields.
func TestStat(t *testing.T) {
	u, err := useIn([]byte("42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 1 0\n"))
	if want := (Use{PID: 42, parent: 7, User: 1.5, System: 0.5}); err != nil || u != want {
		t.Errorf("read %+v, %v; want %+v", u, err, want)
	}
	if _, err := useIn([]byte("42 (a) S 7")); err == nil {
		t.Error("a stat that is cut is no error")
	}
}

// Ensure that what was used before does not count, but for processes that began
// meanwhile.
func TestUsedBetween(t *testing.T) {
	before := []Use{{PID: 1, User: 5, System: 3}, {PID: 2, User: 1}}
	after := []Use{{PID: 2, User: 1, System: 1}, {PID: 1, User: 7, System: 4}, {PID: 3, User: 2}}
	want := []Use{{PID: 2, System: 1}, {PID: 1, User: 2, System: 1}, {PID: 3, User: 2}}
	if got := Between(before, after); !slices.Equal(got, want) || Total(got) != 6 {
		t.Errorf("used %+v, want %+v", got, want)
	}
}
