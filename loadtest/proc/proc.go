// Package proc is what other processes take of this machine: processor time and
// memory, as /proc counts them.
package proc

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// clockTicks is what /proc counts processor time in, per second (USER_HZ,
// proc(5)); it is 100 on every Linux that Go runs on.
const clockTicks = 100

// A Use is the processor time that one process has used, in seconds.
type Use struct {
	PID    int     `json:"pid"`
	Name   string  `json:"name"`
	User   float64 `json:"user_seconds"`
	System float64 `json:"system_seconds"`

	parent int
}

// UsesOf is the processor time of processes and of all that descend from them:
// the work of HAProxy, for one, is done by a child of the process that is
// started.
func UsesOf(pids []int) ([]Use, error) {
	if len(pids) == 0 {
		return nil, nil
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var found []Use
	for _, pid := range family(pids, all) {
		// Once more, since to look at all took its time.
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil && slices.Contains(pids, pid) {
			return nil, fmt.Errorf("there is no process %d: %w", pid, err)
		} else if err != nil { // a child that has just ended
			continue
		}
		u, err := useIn(b)
		if err != nil {
			return nil, fmt.Errorf("stat of %d: %w", pid, err)
		}
		u.Name = nameOf(pid)
		found = append(found, u)
	}
	return found, nil
}

// processes are all that run, by id; those that end meanwhile are left out.
func processes() (map[int]Use, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]Use{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		u, err := useIn(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all[u.PID] = u
	}
	return all, nil
}

// useIn reads /proc/PID/stat: pid, ppid, utime and stime (proc(5)).
func useIn(stat []byte) (Use, error) {
	pid, _, _ := strings.Cut(string(stat), " ")
	// The name in parentheses may hold anything; fields count from behind it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return Use{}, fmt.Errorf("%d fields", len(fields))
	}
	var n [4]int
	for i, f := range []string{pid, fields[1], fields[11], fields[12]} {
		var err error
		if n[i], err = strconv.Atoi(f); err != nil {
			return Use{}, err
		}
	}
	return Use{PID: n[0], parent: n[1], User: float64(n[2]) / clockTicks, System: float64(n[3]) / clockTicks}, nil
}

// family is processes and all that descend from them, each once.
func family(pids []int, all map[int]Use) []int {
	found := slices.Clone(pids)
	for i := 0; i < len(found); i++ {
		for pid, u := range all {
			if u.parent == found[i] {
				found = append(found, pid)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// nameOf is what a process calls itself: the first word of its command line,
// without its folder.
func nameOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "?"
	}
	word, _, _ := strings.Cut(strings.ReplaceAll(string(b), "\x00", " "), " ")
	return filepath.Base(word)
}

// Between is what each process has used since an earlier look.
func Between(before, after []Use) []Use {
	used := slices.Clone(after)
	for i := range used {
		at := slices.IndexFunc(before, func(u Use) bool { return u.PID == used[i].PID })
		if at >= 0 { // else it began in between
			used[i].User -= before[at].User
			used[i].System -= before[at].System
		}
	}
	return used
}

// Total is the processor time of all together.
func Total(uses []Use) float64 {
	n := 0.0
	for _, u := range uses {
		n += u.User + u.System
	}
	return n
}

// A Share is what all processes of one name have used.
type Share struct {
	Name         string
	Processes    int
	User, System float64
}

// Shares adds up by name, the busiest first.
func Shares(uses []Use) []Share {
	var names []Share
	for _, u := range uses {
		at := slices.IndexFunc(names, func(s Share) bool { return s.Name == u.Name })
		if at < 0 {
			at = len(names)
			names = append(names, Share{Name: u.Name})
		}
		names[at].Processes++
		names[at].User += u.User
		names[at].System += u.System
	}
	slices.SortFunc(names, func(a, b Share) int { return cmp.Compare(b.User+b.System, a.User+a.System) })
	return names
}

// ResidentOf is the memory of processes and of all that descend from them, in
// kB (VmRSS, proc(5)).
func ResidentOf(pids []int) (int, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	total := 0
	for _, pid := range family(pids, all) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, after, _ := strings.Cut(string(b), "VmRSS:")
		fields := strings.Fields(after)
		if (err != nil || len(fields) == 0) && slices.Contains(pids, pid) {
			return 0, fmt.Errorf("process %d has no memory: %w", pid, err)
		} else if len(fields) == 0 { // a child that has just ended
			continue
		}
		n, err := strconv.Atoi(fields[0])
		if err != nil {
			return 0, fmt.Errorf("status of %d: %w", pid, err)
		}
		total += n
	}
	return total, nil
}

// SocketsOf is how many sockets processes and all that descend from them have open
// (/proc/PID/fd, proc(5)). Of another user's processes only root is told.
func SocketsOf(pids []int) (int, error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	total := 0
	for _, pid := range family(pids, all) {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		open, err := os.ReadDir(dir)
		if err != nil && slices.Contains(pids, pid) {
			return 0, fmt.Errorf("open files of process %d: %w", pid, err)
		}
		for _, file := range open {
			// One that was closed meanwhile is no socket.
			if to, _ := os.Readlink(filepath.Join(dir, file.Name())); strings.HasPrefix(to, "socket:") {
				total++
			}
		}
	}
	return total, nil
}

// OwnCPU is the processor time of this program, in seconds.
func OwnCPU() float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	s := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return s(use.Utime) + s(use.Stime)
}
