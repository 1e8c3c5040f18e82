package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that slackens goes on under its pid, and the threads that it makes have the
// slack.
func TestSlacken(t *testing.T) {
	t.Parallel()
	const child = "SLACKEN_TEST"
	if os.Getenv(child) != "" {
		fmt.Println("pid", os.Getpid())
		slacken()
		for range 3 {
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread() // and never unlocks: the thread ends with the goroutine
				slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
				_, told := os.LookupEnv(slacked)
				fmt.Println("slack", slack, err, told)
			}()
			<-done
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSlacken$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pid := fmt.Sprintln("pid", cmd.ProcessState.Pid())
	want := strings.Repeat(pid, 2) + strings.Repeat("slack 1000000 <nil> false\n", 3)
	if got := string(out); !strings.HasPrefix(got, want) {
		t.Errorf("it said\n%swant\n%s", got, want)
	}
}
