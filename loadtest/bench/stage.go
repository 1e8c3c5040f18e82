package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A stage is where one run happens: a folder, ports, and the programs that run on it.
// What is started on a stage ends with it. It belongs to one goroutine.
type stage struct {
	*bench
	dir      string
	parts    []*part
	commands []string // what was started, as one would type it
	cluster  *cluster // nil: none
}

// A part is a program that was started on a stage.
type part struct {
	name  string
	cmd   *exec.Cmd
	log   bytes.Buffer  // read after ended
	ended chan struct{} // closed when the process has
}

// The cores of a run whose server has one of its own, and the generator another.
const (
	anyCore       = -1
	serverCore    = 0
	generatorCore = 1
)

// pinned puts a command on a core, on a machine that has several.
func pinned(core int, args []string) []string {
	if core == anyCore || runtime.NumCPU() < 2 {
		return args
	}
	return append([]string{"taskset", "-c", strconv.Itoa(core)}, args...)
}

// start starts a program, beside this one's environment with env.
func (s *stage) start(name string, core int, env []string, args ...string) (*part, error) {
	args = pinned(core, args)
	s.typed(env, args)
	p := &part{name: name, cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.cmd.Dir = s.root
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.WaitDelay = time.Second // its children may hold its output open
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // whoever looks at ended says how
	}()
	s.parts = append(s.parts, p)
	return p, nil
}

// typed keeps a command as one would type it in the repository.
func (s *stage) typed(env, args []string) {
	words := append(slices.Clone(env), args...)
	for i, w := range words {
		w = strings.ReplaceAll(w, s.root+"/", "")
		words[i] = strings.ReplaceAll(w, s.bench.dir+"/", "build/bench/")
	}
	s.commands = append(s.commands, strings.Join(words, " "))
}

// await waits until a part listens on an address.
func (p *part) await(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended while it started: %v\n%s", p.name, p.cmd.ProcessState, tail(p.log.String()))
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %w", p.name, address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// died says which part has ended before it was told to.
func (s *stage) died() error {
	for _, p := range s.parts {
		select {
		case <-p.ended:
			return fmt.Errorf("%s has ended: %v\n%s", p.name, p.cmd.ProcessState, tail(p.log.String()))
		default:
		}
	}
	return nil
}

// grace is how long a part may take to end by itself.
const grace = 3 * time.Second

// close ends what was started, the last first. It takes no context: it must happen
// whatever has ended.
func (s *stage) close() error {
	var failed error
	if s.cluster != nil {
		failed = s.cluster.stop()
	}
	for _, p := range slices.Backward(s.parts) {
		p.stop()
	}
	return errors.Join(failed, os.RemoveAll(s.dir))
}

// stop tells a part to end, and kills it and its children when it does not.
func (p *part) stop() {
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(grace):
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-p.ended
}

func (s *stage) file(name string) string { return filepath.Join(s.dir, name) }

// tail is the last lines of what a program wrote.
func tail(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
