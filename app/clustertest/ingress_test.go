package clustertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Backends write 500 entries for 50 rooms into the stream, with a password that is
// good for nothing else, while the node that reads it is killed, Redis is killed, and
// the next node stopped. Every entry is in its room's log once and in order, and members hear it.
func TestIngress(t *testing.T) {
	c := Start(t, 3)
	room := func(n int) string { return fmt.Sprintf("ingress-%d", n%50) }
	key := func(n int) string { return fmt.Sprintf("k%03d", n) }

	add := func(from, to int) {
		var commands strings.Builder
		for n := from; n < to; n++ {
			fmt.Fprintf(&commands, "XADD chatring:ingress * room %s from shop key %s data %d\n", room(n), key(n), n)
		}
		c.backend(commands.String())
	}
	first := c.ingressReader()
	var adding sync.WaitGroup
	adding.Go(func() { add(0, 350) })
	c.waitAppended(100) // the entries themselves among them
	c.Signal(fmt.Sprintf("ws%d", first), syscall.SIGKILL)
	adding.Wait()
	c.waitIngress("the first 350")
	second := c.ingressReader(first)
	t.Logf("node %d took over %v entries of node %d", second, c.Metric(second, `chatring_queue_taken_over_total{queue="ingress"}`), first)
	add(350, 400)
	c.Signal("redis", syscall.SIGKILL)
	c.script("scripts/up", "--redis")
	add(400, 450)
	c.Signal(fmt.Sprintf("ws%d", second), syscall.SIGTERM)
	nodes, old := c.password("nodes"), c.password("ingress")
	c.script("scripts/redis", "rotate", "ingress")
	if out := c.asBackend(old, "PING\n"); !strings.Contains(out, "WRONGPASS") || c.password("nodes") != nodes {
		t.Errorf("the old password after rotate ingress: %q, want WRONGPASS, and the nodes' as it was", out)
	}
	add(450, 500)
	c.backend(`XADD chatring:ingress * user bob data '{"order":7}'` + "\n" + `XADD chatring:ingress * room lobby data oops`)
	c.waitIngress("all")

	for n := range 50 {
		var want []string
		for k := n; k < 500; k += 50 {
			want = append(want, key(k))
		}
		fields := strings.Fields(c.Redis("XRANGE", "chatring:{"+room(n)+"}:log", "-", "+"))
		var got []string
		for i, f := range fields {
			if f == "key" {
				got = append(got, fields[i+1])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", room(n), got, want)
		}
	}
	alice := c.Dial(c.Front(), "/ws/chat/"+room(0)+"?user=alice&since=0-0")
	for k := 0; k < 500; k += 50 {
		f := alice.Wait("the next entry", func(f Frame) bool { return f.Push == "message" })
		if f.Key != key(k) || f.From != "service:shop" || string(f.Data) != fmt.Sprint(k) {
			t.Errorf("alice heard %+v, want %s", f, key(k))
		}
	}
	bob := c.Dial(c.Front(), "/ws/inbox?user=bob&since=0-0")
	f := bob.Wait("a notification", func(f Frame) bool { return f.Push == "message" })
	if string(f.Data) != `{"type":"notification","data":{"order":7}}` || f.Room != "@bob" || f.From != "service:ingress" {
		t.Errorf("bob heard %+v", f)
	}
	if dead := c.Redis("XRANGE", "chatring:ingress:dead", "-", "+"); !strings.Contains(dead, "data is no JSON value") || c.Redis("XLEN", "chatring:ingress:dead") != "1\n" {
		t.Errorf("set aside: %s", dead)
	}
	c.noRaces()
}

// backend runs commands as those may do who write into the ingress.
func (c *Cluster) backend(commands string) {
	c.t.Helper()
	password, err := os.ReadFile(filepath.Join(c.state, "redis-auth", "ingress"))
	if err != nil {
		c.t.Error(err)
	}
	for line := range strings.Lines(c.asBackend(string(password), commands)) {
		if !entryID.MatchString(line) && line != "\n" {
			c.t.Errorf("Redis answers a backend %q", line)
		}
	}
}

var entryID = regexp.MustCompile(`^[0-9]+-[0-9]+\n$`)

func (c *Cluster) asBackend(password, commands string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "redis-cli", "-p", fmt.Sprint(c.port+90), "--user", "ingress")
	cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+password)
	cmd.Stdin = strings.NewReader(commands)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Errorf("redis-cli: %v\n%s", err, out)
	}
	return string(out)
}

// ingressReader is the number of the node that reads the ingress, other than
// those that are gone.
func (c *Cluster) ingressReader(gone ...int) (node int) {
	c.t.Helper()
	eventually(c.t, "a node reads the ingress", func() bool {
		for node = 1; node <= 3; node++ {
			if !slices.Contains(gone, node) && c.Metric(node, `chatring_queue_reading{queue="ingress"}`) == 1 {
				return true
			}
		}
		return false
	})
	return node
}

// waitIngress waits until nothing of the ingress is left.
func (c *Cluster) waitIngress(what string) {
	c.t.Helper()
	begun := time.Now()
	eventually(c.t, what+" of the entries to be said", func() bool {
		return c.Redis("XLEN", "chatring:ingress") == "0\n"
	})
	c.t.Logf("%s of the entries took %v", what, time.Since(begun).Round(time.Millisecond))
}
