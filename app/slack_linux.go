package main

import (
	"log/slog"
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

// main belongs to the first thread until slacken has been called: when another one
// executes a program, what the kernel keeps for the first is lost, and for a moment
// the process looks like one that has ended.
func init() { runtime.LockOSThread() }

// slacken gives all threads of this process the slack. Threads inherit it from the one
// that makes them, and the runtime's is made before main: so the process executes
// itself once more, which keeps its pid and its arguments. Where that cannot be,
// the node runs without.
func slacken() {
	runtime.LockOSThread() // once more, since tests are not main
	defer runtime.UnlockOSThread()
	defer runtime.UnlockOSThread()
	_, done := os.LookupEnv(slacked)
	_ = os.Unsetenv(slacked)
	have, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if done || err != nil || time.Duration(have) >= timerSlack {
		return
	}
	self, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) != nil {
		return
	}
	var files syscall.Rlimit
	limited := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)           // Exec lowers it again
	err = syscall.Exec(self, os.Args, append(os.Environ(), slacked+"=1")) //nolint:gosec // this very program
	if limited == nil {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files)
	}
	slog.Warn("the node costs more than it has to: it could not execute itself with another timer slack", "err", err)
}
