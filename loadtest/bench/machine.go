package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// A machine is what figures depend on, beside the code.
type machine struct {
	Processor string            `json:"processor"`
	CPUs      int               `json:"cpus"`
	MemoryGiB int               `json:"memory_gib"`
	System    string            `json:"system"`
	Kernel    string            `json:"kernel"`
	Versions  map[string]string `json:"versions"` // of the programs that are not of this repository
	Load      float64           `json:"load_before"`
}

// thisMachine asks the machine what it is. What it does not know is left out.
func thisMachine(ctx context.Context, root string) machine {
	m := machine{
		Processor: field("/proc/cpuinfo", "model name"),
		CPUs:      runtime.NumCPU(),
		System:    strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`),
		Kernel:    firstWord("/proc/sys/kernel/osrelease"),
		Versions:  map[string]string{},
	}
	if kB, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		m.MemoryGiB = (kB + 1<<19) >> 20
	}
	m.Load, _ = strconv.ParseFloat(firstWord("/proc/loadavg"), 64)
	for name, args := range map[string][]string{
		"Go": {"go", "version"}, "HAProxy": {"haproxy", "-v"}, "Redis": {"redis-server", "--version"}, "Node.js": {"node", "--version"},
	} {
		if v := versionOf(ctx, args...); v != "" {
			m.Versions[name] = v
		}
	}
	for name, at := range map[string]string{
		"NATS": "go.mod nats-io/nats-server/v2 v", "gws": "go.mod lxzan/gws v", "Socket.IO": `socketio/package.json "socket.io": "`,
	} {
		file, before, _ := strings.Cut(at, " ")
		b, _ := os.ReadFile(filepath.Join(root, "loadtest", "peers", file))
		if _, after, ok := strings.Cut(string(b), before); ok {
			m.Versions[name] = version.FindString(after)
		}
	}
	return m
}

var version = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

func versionOf(ctx context.Context, args ...string) string {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if err != nil {
		return ""
	}
	return version.FindString(string(out))
}

// field is the value behind a name and a colon or an equals sign, in a file of such
// lines.
func field(file, name string) string {
	b, _ := os.ReadFile(file)
	for line := range strings.Lines(string(b)) {
		i := strings.IndexAny(line, ":=")
		if i > 0 && strings.TrimSpace(line[:i]) == name {
			return strings.TrimSpace(line[i+1:])
		}
	}
	return ""
}

func firstWord(file string) string {
	b, _ := os.ReadFile(file)
	word, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	return word
}

// commitOf is the repository's commit, and says when the code is not what was
// committed. What this program itself writes does not count.
func commitOf(ctx context.Context, root string) string {
	git := func(args ...string) (string, error) {
		// Whose the clone is does not matter here.
		args = append([]string{"-c", "safe.directory=*", "-C", root}, args...)
		out, err := exec.CommandContext(ctx, "git", args...).Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("rev-parse", "--short=7", "HEAD")
	if err != nil {
		return "unknown"
	}
	if changed, err := git("status", "--porcelain", "--", ":!docs"); err != nil || changed != "" {
		commit += " with changes"
	}
	return commit
}
