package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A runner has what all rows need: the programs, and a folder to work in.
type runner struct {
	options
	root   string // of the repository
	dir    string // for programs and state
	own    bool   // dir is removed at the end
	node   string // program
	replay string // program
}

// newRunner builds the programs, but for a node that the environment names.
func newRunner(ctx context.Context, o options) (*runner, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	r := &runner{options: o, root: root, dir: o.work}
	if r.dir == "" {
		if r.dir, err = os.MkdirTemp("", "chaos"); err != nil {
			return nil, err
		}
		r.own = true
	}
	if r.node = os.Getenv("CHATRING_BIN"); r.node == "" {
		r.node, err = build(ctx, root, r.dir, "./app")
	}
	if err == nil {
		r.replay, err = build(ctx, root, r.dir, "./loadtest/replay")
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *runner) close() {
	if r.own {
		_ = os.RemoveAll(r.dir)
	}
}

// script is what is played: the whole excerpt, or less of it in a hurry.
func (r *runner) script(f fault) script {
	s := script{rate: 150, quiet: 450, settle: 30 * time.Second, timeout: 100 * time.Second}
	if r.quick {
		s.messages, s.rate, s.quiet = 80, 120, 180
	}
	if f.rate > 0 {
		s.rate, s.quiet = f.rate, int(quietTime.Seconds()*f.rate)+100
	}
	return s
}

// slack stretches the bounds of time. The figures of a whole run are the system's,
// those of a hurried one also the machine's, which runs other tests meanwhile.
func (r *runner) slack() float64 {
	if r.quick {
		return 4
	}
	return 1
}

// rowMost bounds a row, whatever happens in it, but for the building of its node.
const rowMost = 3 * time.Minute

// run runs one fault in a cluster of its own. What hinders it stands in the row as
// a broken promise: a row that was not run has shown nothing.
func (r *runner) run(ctx context.Context, f fault) row {
	begun := time.Now()
	result := row{Fault: f.name, Promise: f.promise, Notice: -1}
	node, err := r.node, error(nil)
	if f.build != nil {
		node, err = f.build(ctx, r)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, rowMost)
		defer cancel()
		err = r.play(ctx, f, node, &result)
	}
	if err != nil {
		result.wrong("%v", err)
	}
	result.Seconds = time.Since(begun).Seconds()
	return result
}

// play starts a cluster of a node's program, and plays the conversation with the
// fault in it.
func (r *runner) play(ctx context.Context, f fault, node string, result *row) (err error) {
	work, err := os.MkdirTemp(r.dir, "row")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	env := []string{"CHATRING_BIN=" + node, shiftVariable + "=" + filepath.Join(work, "state")}
	env = append(env, f.env...)
	c, err := startCluster(ctx, r.root, work, r.port, env)
	s := &scene{cluster: c, runner: r, fault: f, entrances: c.doors(f.split)}
	defer func() {
		for _, clean := range slices.Backward(s.cleanups) {
			clean()
		}
		if stopped := c.stop(); err == nil {
			err = stopped
		}
	}()
	if err != nil {
		return err
	}
	defer func() {
		if r.verbose && (err != nil || !result.ok()) {
			fmt.Fprint(os.Stderr, c.logEnds(), s.troubles())
		}
	}()
	if f.prepare != nil {
		if err := f.prepare(ctx, s); err != nil {
			return err
		}
	}
	if s.play, err = startPlay(r.replay, r.root, work, r.script(f), s.entrances); err != nil {
		return err
	}
	defer s.play.kill()
	s.watch = newWatch(c, s.play)
	watching, unwatch := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); s.watch.run(watching) }()
	defer func() { unwatch(); <-watched }()

	if err := s.breakAndMend(ctx); err != nil {
		return err
	}
	found, err := s.play.wait(ctx)
	if err != nil {
		return err
	}
	result.took(found)
	s.fill(result)
	if f.split && result.split == 0 {
		result.wrong("no room was on several nodes: nothing was shown")
	}
	result.judge(f.within, r.slack())
	if f.check != nil {
		if err := f.check(ctx, s, result); err != nil {
			result.wrong("%v", err)
		}
	}
	return nil
}

// doors are the addresses that players come in at, unless prepare changes them.
func (c *cluster) doors(split bool) []string {
	if !split {
		return []string{c.front()}
	}
	var all []string
	for i := range nodes {
		all = append(all, c.node(i+1))
	}
	return all
}

// breakAndMend waits until the conversation is going well, and has the fault happen
// in its middle.
func (s *scene) breakAndMend(ctx context.Context) error {
	f := s.fault
	going := func(b beat) bool { return b.calm() && b.Acknowledged >= s.runner.script(f).quiet }
	if err := s.play.await(ctx, "the conversation was going well", going); err != nil {
		return err
	}
	s.watch.begin(f.noticed)
	s.began = time.Now()
	if err := f.inject(ctx, s); err != nil {
		return fmt.Errorf("inject: %w", err)
	}
	if !sleep(ctx, f.hold) {
		return ctx.Err()
	}
	s.healed = s.began
	if f.heal != nil {
		if err := f.heal(ctx, s); err != nil {
			return fmt.Errorf("heal: %w", err)
		}
		if !f.healsItself {
			s.healed = time.Now()
		}
	}
	s.over = time.Now()
	return nil
}

// fill adds what was seen beside the conversation.
func (s *scene) fill(r *row) {
	r.Notice = -1
	if at := s.watch.noticedAt(); !at.IsZero() {
		r.Notice = max(0, at.Sub(s.began).Seconds())
	}
	r.Repair = repairedAfter(s.play.all(), s.began, s.healed)
	r.Peak = s.watch.peakOf()
	r.Notes = append(r.Notes, s.notes...)
	r.Broken = append(r.Broken, s.broken...)
	r.Broken = append(r.Broken, s.deaths()...)
	r.Broken = append(r.Broken, s.watch.unready()...)
	if acknowledgedAfter(s.play.all(), s.over) == 0 {
		r.wrong("the conversation was over before the fault was: nothing was shown")
	}
}

// troubles is a line for each beat since the fault began at which somebody waited.
func (s *scene) troubles() string {
	var all strings.Builder
	if s.play == nil || s.began.IsZero() {
		return ""
	}
	for _, b := range s.play.all() {
		if b.At.After(s.began) && !b.calm() {
			fmt.Fprintf(&all, "%5.1f s: a line waits for %.1f s, a message for %.1f s, a reader for %.1f s\n",
				b.At.Sub(s.began).Seconds(), b.Waiting, b.Late, b.Gone)
		}
	}
	return all.String()
}

// file is the path of a file in the repository.
func (r *runner) file(parts ...string) string {
	return filepath.Join(append([]string{r.root}, parts...)...)
}

func verdict(r row) string {
	if r.ok() {
		return "kept"
	}
	return "BROKEN"
}

func countBroken(rows []row) (n int) {
	for _, r := range rows {
		if !r.ok() {
			n++
		}
	}
	return n
}
