package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is how much later than it was asked to the kernel may wake a thread of
// ours: Linux' is 50 µs. What we time ourselves is in milliseconds.
//
// The Go runtime has a thread that looks after the others every 20 µs as long as
// anything runs, and sleeps when nothing does (https://go.dev/issue/18236). In a node
// that hears of something every other millisecond, that is a seventh of its processor
// time, spent with going to sleep and waking up.
const timerSlack = time.Millisecond

// slacked tells a process that it has replaced itself.
const slacked = "TIMER_SLACK_SET"

// slacken gives all threads of this process the slack. They have it from the thread
// that makes them, and the runtime's is made before main: so the process replaces
// itself, once, which keeps its pid, its arguments and its environment. Where that
// cannot be, nothing changes but the cost.
func slacken() {
	_, done := os.LookupEnv(slacked)
	_ = os.Unsetenv(slacked)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	have, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if done || err != nil || time.Duration(have) >= timerSlack {
		return
	}
	self, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) != nil {
		return
	}
	_ = syscall.Exec(self, os.Args, append(os.Environ(), slacked+"=1")) //nolint:gosec // this very program
}
