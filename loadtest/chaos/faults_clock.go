package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

var clockFaults = []fault{{
	name:    "clock",
	promise: "A node whose clock jumps an hour ahead, and then two hours back, closes no socket, changes neither the order nor the number of messages in rooms that live on all nodes, believes each token by its own clock, and drains and starts as ever.",
	split:   true,
	rate:    50,
	// Each ping looks at the clock, and nobody is led home meanwhile.
	env:    []string{"CHATRING_GATEWAY_PING=2s", "CHATRING_HOME_URL="},
	build:  buildShiftable,
	inject: jumpClock,
	heal: func(ctx context.Context, s *scene) error {
		return s.shiftClock(ctx, 2, 0)
	},
	within: bounds{repair: 5 * time.Second, silence: 2 * time.Second},
}}

// clockStays is how long a clock is wrong before it jumps again.
const clockStays = 4 * time.Second

// jumpClock has the clock of node 2 jump, and then drains and starts the node while
// its clock is wrong.
func jumpClock(ctx context.Context, s *scene) error {
	tokens, err := s.startTokenNode(ctx)
	if err != nil {
		return err
	}
	ended := s.play.last().Ended
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		if err := s.shiftClock(ctx, 2, off); err != nil {
			return err
		}
		if err := tokens.judge(ctx, s, off); err != nil {
			return err
		}
		if !sleep(ctx, clockStays) {
			return ctx.Err()
		}
	}
	if now := s.play.last().Ended; now != ended {
		s.wrong("%d sockets were closed when the clock jumped", now-ended)
	}
	if s.watch.latest().nodes[2]["chatring_connections"] == 0 {
		return errors.New("nobody is on the node that is to drain")
	}
	pid, err := s.pid("ws2")
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := s.signal("ws2", syscall.SIGTERM); err != nil {
		return err
	}
	if err := awaitEnd(ctx, pid); err != nil {
		return err
	}
	took := time.Since(begun)
	s.note("drained in %.1f s while an hour behind", took.Seconds())
	if took > stopGrace {
		s.wrong("the node drained for %.1f s, and would be killed after %v", took.Seconds(), stopGrace)
	}
	return s.again(ctx, "ws2")
}

// shiftVariable names the folder of the files that say by how many seconds each
// node's clock is off.
const shiftVariable = "CHAOS_CLOCK"

// shiftSource is compiled into the node whose clock can jump: it asks the file of
// its APPID, again and again.
const shiftSource = `package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

func init() {
	go func() {
		for {
			b, err := os.ReadFile(os.Getenv("` + shiftVariable + `") + "/" + os.Getenv("APPID"))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && bad == nil {
				time.Shift(n)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
}
`

// buildShiftable builds a node whose wall clock can be set off by a file: a static
// program takes no library that would lie to it, so time.Now itself is replaced.
// The monotonic clock, by which Go measures time, goes on as it does when a
// machine's clock is set.
func buildShiftable(ctx context.Context, r *runner) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(out)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	shifted, err := shiftable(string(source))
	if err != nil {
		return "", fmt.Errorf("%s: %w", original, err)
	}
	dir := filepath.Join(r.dir, "clock")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	overlay := fmt.Sprintf(`{"Replace":{%q:%q,%q:%q}}`, original, filepath.Join(dir, "time.go"), r.file("app", "shift.go"), filepath.Join(dir, "shift.go"))
	for name, text := range map[string]string{"time.go": shifted, "shift.go": shiftSource, "overlay.json": overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return build(ctx, r.root, dir, "./app", "-overlay", filepath.Join(dir, "overlay.json"))
}

// shiftable is the source of package time with a Now that can be set off.
func shiftable(source string) (string, error) {
	for _, change := range [][2]string{
		{"\t\"math/bits\"\n", "\t\"math/bits\"\n\t\"sync/atomic\"\n"},
		{"\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n", "\tsec, nsec, mono := runtimeNow()\n\tsec += shift.Load()\n\tif mono == 0 {\n"},
	} {
		if strings.Count(source, change[0]) != 1 {
			return "", fmt.Errorf("%q is not there once: this Go has another time.Now", change[0])
		}
		source = strings.Replace(source, change[0], change[1], 1)
	}
	return source + `
var shift atomic.Int64

// Shift sets the clock off by seconds.
func Shift(seconds int64) { shift.Store(seconds) }
`, nil
}

// shiftClock sets the clock of a node off.
func (s *scene) shiftClock(ctx context.Context, i int, by time.Duration) error {
	return s.setClock(ctx, appID(i), s.node(i), by)
}

// setClock sets a clock off, and waits until the node's answers show it.
func (s *scene) setClock(ctx context.Context, id, address string, by time.Duration) error {
	file := filepath.Join(s.state, id)
	s.cleanup(func() { _ = os.Remove(file) })
	if err := os.WriteFile(file, []byte(strconv.Itoa(int(by.Seconds()))), 0o600); err != nil {
		return err
	}
	return s.awaitClock(ctx, address, by)
}

func (s *scene) awaitClock(ctx context.Context, address string, by time.Duration) error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		off, err := clockOff(ctx, address)
		if err == nil && (off-by).Abs() < 5*time.Second {
			return nil
		}
		if !time.Now().Before(deadline) || !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("the clock of %s is off by %v, not by %v: %w", address, off, by, errors.Join(err, ctx.Err()))
		}
	}
}

// clockOff is how far a node's clock is ahead of ours, to the second.
func clockOff(ctx context.Context, node string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+node+"/healthz", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	return time.Until(theirs), err
}

// tokenAppID is the node that judges tokens: the cluster's believe every name.
const tokenAppID = "5555"

// A tokenNode is a process of its own, with the same clock. It has two members: the
// token of one is good for half an hour, the other's for two.
type tokenNode struct {
	address     string
	secret      []byte
	short, long string
	ended       map[string]chan error // of the socket of each token; capacity 1
}

func (s *scene) startTokenNode(ctx context.Context) (*tokenNode, error) {
	pid, err := s.pid("ws2")
	if err != nil {
		return nil, err
	}
	binary, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return nil, err
	}
	n := &tokenNode{
		address: fmt.Sprintf("127.0.0.1:%d", s.port+95), secret: []byte(strings.Repeat("chaos", 8)),
		ended: make(map[string]chan error),
	}
	secret := filepath.Join(s.state, "secret")
	if err := os.WriteFile(secret, n.secret, 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(s.state, "tokens.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(binary, "serve")
	cmd.Env = []string{
		"APPID=" + tokenAppID, "CHATRING_LISTEN=" + n.address, "CHATRING_OPS_LISTEN=", "CHATRING_BROKER=memory",
		"CHATRING_AUTH_MODE=jwt", "CHATRING_AUTH_SECRET_FILE=" + secret, "CHATRING_GATEWAY_PING=1s", shiftVariable + "=" + s.state,
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := s.awaitClock(ctx, n.address, 0); err != nil {
		return nil, err
	}
	n.short, n.long = n.token(30*time.Minute), n.token(2*time.Hour)
	for _, t := range []string{n.short, n.long} {
		ws, status, err := n.dial(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("a good token: %d, %w", status, err)
		}
		ended := make(chan error, 1)
		n.ended[t] = ended
		go func() {
			defer ws.CloseNow()
			for {
				if _, _, err := ws.Read(context.WithoutCancel(ctx)); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	return n, nil
}

// token is one that expires after a while, by the true clock.
func (n *tokenNode) token(life time.Duration) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil, `{"sub":"alice","exp":%d}`, time.Now().Add(life).Unix()))
	mac := hmac.New(sha256.New, n.secret)
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

func (n *tokenNode) dial(ctx context.Context, token string) (ws *websocket.Conn, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ws, answer, err := websocket.Dial(ctx, "ws://"+n.address+"/ws/chat/lobby", &websocket.DialOptions{
		Subprotocols: []string{"chatring.v1"}, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if answer != nil {
		status = answer.StatusCode
	}
	return ws, status, err
}

// judge sets the clock of the node off and looks at what it does with the tokens: by
// its clock the short one is over when an hour has passed, and the long one is not.
func (n *tokenNode) judge(ctx context.Context, s *scene, off time.Duration) error {
	if err := s.setClock(ctx, tokenAppID, n.address, off); err != nil {
		return err
	}
	for _, tt := range []struct {
		name, token string
		good        bool
	}{{"half an hour", n.short, off < 30*time.Minute}, {"two hours", n.long, true}} {
		ws, status, err := n.dial(ctx, tt.token)
		if err == nil {
			_ = ws.CloseNow()
		}
		if good := status == http.StatusSwitchingProtocols; good != tt.good {
			s.wrong("a token of %s was answered with %d by a clock that is off by %v", tt.name, status, off)
		}
		if n.ended[tt.token] != nil {
			n.judgeSocket(ctx, s, tt.token, tt.name, tt.good)
		}
	}
	return nil
}

// judgeSocket looks whether the socket of a token is closed with 4501, if it is to be.
func (n *tokenNode) judgeSocket(ctx context.Context, s *scene, token, name string, good bool) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second) // some beats
	defer cancel()
	select {
	case err := <-n.ended[token]:
		delete(n.ended, token)
		if code := websocket.CloseStatus(err); good || code != 4501 {
			s.wrong("the socket of a token of %s ended: %v", name, err)
		}
	case <-ctx.Done():
		if !good {
			s.wrong("the socket of a token of %s, which had expired, was not closed", name)
		}
	}
}
