package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// clockTicks is what /proc counts processor time in, per second (USER_HZ,
// proc(5)); it is 100 on every Linux that Go runs on.
const clockTicks = 100

// cpuOf is the processor time that processes have used, user and system, in
// seconds (utime and stime of /proc/PID/stat, proc(5)).
func cpuOf(pids []int) (float64, error) {
	total := 0.0
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// The name in parentheses may hold anything; fields count from behind it.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		for _, f := range fields[11:13] {
			n, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("stat of %d: %w", pid, err)
			}
			total += float64(n) / clockTicks
		}
	}
	return total, nil
}

// rssOf is the resident memory of processes, in kB (VmRSS, proc(5)).
func rssOf(pids []int) (int, error) {
	total := 0
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		_, after, ok := strings.Cut(string(b), "VmRSS:")
		fields := strings.Fields(after)
		if !ok || len(fields) == 0 {
			return 0, fmt.Errorf("process %d has no memory", pid)
		}
		n, err := strconv.Atoi(fields[0])
		if err != nil {
			return 0, fmt.Errorf("status of %d: %w", pid, err)
		}
		total += n
	}
	return total, nil
}

// ownCPU is the processor time of this program, in seconds.
func ownCPU() float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	s := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return s(use.Utime) + s(use.Stime)
}
