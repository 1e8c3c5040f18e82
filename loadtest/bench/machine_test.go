package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Ensure that this machine, and what is compared on it, is known in full.
func TestThisMachine(t *testing.T) {
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	m := thisMachine(t.Context(), root)
	if m.CPUs < 1 || m.MemoryGiB < 1 || m.Processor == "" || m.System == "" || m.Kernel == "" || m.Load < 0 {
		t.Errorf("the machine is %+v", m)
	}
	number := regexp.MustCompile(`^\d+\.\d+(\.\d+)?$`)
	for _, name := range []string{"Go", "NATS", "gws", "Socket.IO"} {
		if !number.MatchString(m.Versions[name]) {
			t.Errorf("the version of %s is %q", name, m.Versions[name])
		}
	}
}

// Ensure that a commit is named, and that changes to the code are, but not those that
// this program makes.
func TestCommitOf(t *testing.T) {
	root := t.TempDir()
	if got := commitOf(t.Context(), root); got != "unknown" {
		t.Errorf("without a repository: %q", got)
	}
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-C", root, "-c", "user.name=a", "-c", "user.email=b"}, args...)
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git: %v\n%s", err, out)
		}
	}
	write := func(name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	write("code")
	git("add", "code")
	git("commit", "-qm", "begin")
	write("docs/bench/results.json")
	if got := commitOf(t.Context(), root); !regexp.MustCompile(`^[0-9a-f]{7}$`).MatchString(got) {
		t.Errorf("the commit is %q", got)
	}
	write("more code")
	if got := commitOf(t.Context(), root); !strings.HasSuffix(got, " with changes") {
		t.Errorf("with more code, the commit is %q", got)
	}
}
