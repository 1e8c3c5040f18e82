package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A bench has what all rows need: the programs, and a folder to work in.
type bench struct {
	options
	root   string            // of the repository
	dir    string            // for programs and state
	own    bool              // dir is removed at the end
	node   string            // program
	fanout string            // program, the generator
	peers  map[string]string // their programs
	absent map[string]error  // peers that cannot be had, and why
	pad    int               // bytes that chatring's frames have beside data; 0: not known yet

	machine machine
	commit  string

	begun     time.Time
	done, all time.Duration // what the runs were thought to take
	busy      time.Duration // what those that are done have taken
}

// newBench builds the programs that the rows need, but for a node that the
// environment names.
func newBench(ctx context.Context, o options, picked []row) (*bench, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, root: root, dir: o.work, begun: time.Now(), peers: make(map[string]string), absent: make(map[string]error)}
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "bench"); err != nil {
			return nil, err
		}
		b.own = true
	}
	if err := b.prepare(ctx, picked); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) prepare(ctx context.Context, picked []row) (err error) {
	b.machine = thisMachine(ctx, b.root)
	if b.machine.Load > 0.5 && !b.quick {
		fmt.Fprintf(os.Stderr, "bench: this machine is not quiet (load %.1f): figures will be too low\n", b.machine.Load)
	}
	b.commit = commitOf(ctx, b.root)
	if b.node = os.Getenv("CHATRING_BIN"); b.node == "" {
		b.node, err = build(ctx, b.root, filepath.Join(b.dir, "chatring"), "./app")
	}
	if err == nil {
		b.fanout, err = build(ctx, b.root, filepath.Join(b.dir, "fanout"), "./loadtest/fanout")
	}
	if err != nil {
		return err
	}
	for _, r := range picked {
		for _, l := range r.lines {
			b.all += time.Duration(r.roundsOf(b.options)) * b.estimate(r)
			b.preparePeer(ctx, l.system)
		}
	}
	return nil
}

func (b *bench) close() {
	if b.own {
		_ = os.RemoveAll(b.dir)
	}
}

// estimate is what a run of a row takes, about.
func (b *bench) estimate(r row) time.Duration {
	if b.quick {
		return 3 * time.Second
	}
	return b.duration + r.beside
}

// measure runs the lines of a row in turns. What hinders a run stands in it.
func (b *bench) measure(ctx context.Context, r row) measurement {
	m := measurement{
		At: time.Now().UTC().Truncate(time.Second), Commit: b.commit, Machine: b.machine, Command: b.command,
	}
	rounds := r.roundsOf(b.options)
	for round := 1; round <= rounds; round++ {
		for _, l := range r.lines {
			if ctx.Err() != nil {
				return m
			}
			begun := time.Now()
			result := b.run(ctx, r, l)
			result.Round = round
			m.Runs = append(m.Runs, result)
			b.busy += time.Since(begun)
			b.done += b.estimate(r)
			b.tell(r, rounds, result)
		}
	}
	return m
}

// runMost bounds a run, whatever happens in it.
const runMost = 2 * time.Minute

// run runs a line once, on a stage of its own.
func (b *bench) run(ctx context.Context, r row, l line) run {
	result := run{Line: l.name, At: time.Now().UTC().Truncate(time.Second)}
	ctx, cancel := context.WithTimeout(ctx, runMost+b.duration)
	defer cancel()
	err := b.absent[l.system]
	var dir string
	if err == nil {
		dir, err = os.MkdirTemp(b.dir, "stage")
	}
	if err == nil {
		s := &stage{bench: b, dir: dir}
		err = l.run(ctx, s, &result)
		result.Commands = s.commands
		if err != nil && s.died() != nil {
			err = errors.Join(err, s.died())
		}
		if ended := s.close(); err == nil {
			err = ended
		}
	}
	for _, c := range r.metrics {
		if _, ok := result.Figures[c.key]; !ok && err == nil && !c.optional {
			err = fmt.Errorf("no %s was measured", c.key)
		}
	}
	if err != nil {
		result.Figures, result.Wrong = nil, err.Error()
	}
	return result
}

// tell prints how a run went, and what is left.
func (b *bench) tell(r row, rounds int, of run) {
	said := "failed: " + of.Wrong
	if v, ok := of.Figures[r.metrics[0].key]; ok {
		said = r.metrics[0].write(v) + " " + r.metrics[0].title
		if of.Wrong != "" {
			said += ", " + of.Wrong
		}
	}
	left := time.Duration(float64(b.all-b.done) * float64(b.busy) / float64(b.done))
	fmt.Fprintf(os.Stderr, "bench: %-13s %d of %d  %-28s %s (%s left)\n", r.name, of.Round, rounds, of.Line, said, left.Round(10*time.Second))
}

// keep puts a row into docs/, beside those that are there.
func (b *bench) keep(name string, m measurement) error {
	file := filepath.Join(b.root, resultsFile)
	measured, err := readResults(file)
	if err != nil {
		return err
	}
	measured[name] = m
	if err := measured.write(file); err != nil {
		return err
	}
	return writeDocs(b.root, measured)
}

// repository is the folder that has go.mod and scripts, from here upwards.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "scripts", "up")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside the repository")
		}
	}
}

// build builds a command out of the folder of its module.
func build(ctx context.Context, module, program, pkg string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, said)
	}
	return program, nil
}
