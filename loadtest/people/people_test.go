package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// node starts a node that keeps everything in memory, and returns its address and its
// process. It ends with the test.
func node(t *testing.T) (address, pid string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "chatring")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "../../app").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = ln.Addr().String()
	_ = ln.Close()
	cmd := exec.Command(binary, "--listen", address, "--ops-listen=", "--log-level=error")
	cmd.Env = append(os.Environ(), "CHATRING_USER_MESSAGES=0", "CHATRING_SESSION_MESSAGES=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address = "http://" + address
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			return address, strconv.Itoa(cmd.Process.Pid)
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// people runs the program and reads its figures.
func people(t *testing.T, figures any, args ...string) (code int, out, errs string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "figures.json")
	var o, e bytes.Buffer
	code = run(context.Background(), append(args, "-json", file), &o, &e)
	if figures != nil && code == 0 {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, figures); err != nil {
			t.Fatal(err)
		}
	}
	return code, o.String(), e.String()
}

// Ensure that every verb measures something on a real node, and counts what it did.
func TestVerbs(t *testing.T) {
	address, pid := node(t)
	var s statusFigures
	if code, _, errs := people(t, &s, "status", "-url", address, "-pid", pid, "-pairs", "3", "-rounds", "2", "-pause", "1ms"); code != 0 {
		t.Error(errs)
	} else if s.Changes != 3*2*4 || s.Said.Count != 12 || s.Gone.Count != 6 || s.Back.Count != 6 || s.Missing != 0 || len(s.Processes) == 0 {
		t.Errorf("status: %+v", s)
	}
	var n notifyFigures
	if code, _, errs := people(t, &n, "notify", "-url", address, "-pid", pid, "-users", "20", "-online", "5", "-requests", "4"); code != 0 {
		t.Error(errs)
	} else if n.Sent != 80 || n.Heard != 20 || n.Counted != 20 || n.Deliver.Count != 20 || n.Answer.Count != 4 {
		t.Errorf("notify: %+v", n)
	}
	var r roomsFigures
	if code, _, errs := people(t, &r, "rooms", "-url", address, "-pid", pid, "-rooms", "12", "-users", "2", "-asked", "3"); code != 0 {
		t.Error(errs)
	} else if r.Asked != 6 || r.Answer.Count != 6 || r.Bytes == 0 {
		t.Errorf("rooms: %+v", r)
	}
}

// Ensure that misuse says what is wrong, and how to find out more.
func TestMisuse(t *testing.T) {
	for args, want := range map[string]string{
		"":                               "usage: people",
		"dance":                          "unknown verb: dance",
		"status -pairs 0":                "1 at least",
		"status more":                    "unknown argument: more",
		"notify -users 2000":             "1 to 1000",
		"notify -users 3 -online 4":      "at most as many",
		"rooms -url ws://127.0.0.1:8080": "no address",
	} {
		var out, errs bytes.Buffer
		if code := run(context.Background(), strings.Fields(args), &out, &errs); code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("%q: exit code %d, %s, want 2 and %q", args, code, &errs, want)
		}
	}
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"-h"}, &out, &errs); code != 0 || !strings.Contains(out.String(), "exit codes") {
		t.Errorf("-h: exit code %d, %s", code, &out)
	}
}
