// Command bench measures chatring beside a floor that does nothing but write, and
// beside what else one could take, under one load from one generator. It knows the
// servers only by their commands and sockets.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: scripts/bench [flags] [ROW…]

Measures chatring beside a floor that does nothing but write, and beside what else
one could take, under the same load from the same generator (loadtest/fanout) on the
same cores. The lines of a row run in turns, A B C A B C, so that a machine that
grows slower does so for all. Prints a table for each row: medians, the least and the
most beside them, ratios. A run in which something was missing or out of order is
said to be one. All rows take twenty minutes; nothing else should run meanwhile.

  scripts/bench --list                    the rows, and what each one measures
  scripts/bench                           all of them
  scripts/bench closed scale              these
  scripts/bench --only chatring closed    of these the lines of one system
  scripts/bench --quick                   does it work? Few members, a second each: no figures
  scripts/bench --write [ROW…]            and put tables, data and plots into docs/
  scripts/bench --redraw                  tables and plots anew from the data there

flags:
`

const after = `
CHATRING_BIN is a node to run instead of building one: to compare two.

exit codes: 0 measured · 1 a run failed, or chatring or the floor lost something ·
2 usage
`

// options are what the command line says.
type options struct {
	list, quick, write, redraw bool
	only                       []string
	rounds                     int
	duration                   time.Duration
	port                       int
	json, work                 string
	names                      []string
	command                    string // as typed
}

func parse(args []string) (options, error) {
	var o options
	only := ""
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.list, "list", false, "print the rows and what each one measures")
	f.BoolVar(&o.quick, "quick", false, "few members, few seconds, the systems that need no download: shows that it works")
	f.BoolVar(&o.write, "write", false, "write data, plots and tables of the rows into docs/")
	f.BoolVar(&o.redraw, "redraw", false, "measure nothing; write tables and plots of docs/ anew from its data")
	f.StringVar(&only, "only", "", "`systems` to run, comma separated: "+strings.Join(systems, ", "))
	f.IntVar(&o.rounds, "runs", 3, "how often each line is run, at most")
	f.DurationVar(&o.duration, "duration", 4*time.Second, "how long each run measures")
	f.IntVar(&o.port, "port", 25200, "first `port`; up to 120 that follow are taken, too")
	f.StringVar(&o.json, "json", "", "also write every single run as JSON to this `file`")
	f.StringVar(&o.work, "work", "", "`folder` for programs, state and logs (default: a temporary one)")
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
		fmt.Fprint(f.Output(), after)
	}
	for rest := args; ; rest = f.Args()[1:] { // rows may stand before flags
		if err := f.Parse(rest); err != nil {
			return o, err
		}
		if f.NArg() == 0 {
			break
		}
		o.names = append(o.names, f.Arg(0))
	}
	o.command = strings.Join(append([]string{"scripts/bench"}, args...), " ")
	o.command = strings.Replace(o.command, " -work "+o.work, "", 1) // that is the script's doing
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if o.quick {
		o.rounds, o.duration = 1, min(o.duration, time.Second)
	}
	for _, s := range o.only {
		if !slices.Contains(systems, s) {
			return o, fmt.Errorf("there is no system %q: -only takes some of %s", s, strings.Join(systems, ","))
		}
	}
	switch {
	case o.rounds < 1 || o.duration <= 0:
		return o, errors.New("-runs and -duration are more than 0")
	case o.write && (o.quick || o.only != nil):
		return o, errors.New("-write wants whole rows: leave out -quick and -only")
	case o.redraw && (o.write || len(o.names) > 0):
		return o, errors.New("-redraw measures nothing: leave out -write and rows")
	}
	return o, nil
}

func main() { os.Exit(start(os.Args[1:])) }

func start(args []string) int {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var picked []row
	if err == nil {
		picked, err = pick(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	if o.list {
		for _, r := range picked {
			fmt.Printf("%-14s %s\n", r.name, r.asks)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ok := true
	if o.redraw {
		err = redraw()
	} else {
		ok, err = measureAll(ctx, o, picked)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !ok {
		return 1
	}
	return 0
}

func redraw() error {
	root, err := repository()
	if err != nil {
		return err
	}
	measured, err := readResults(root + "/" + resultsFile)
	if err != nil {
		return err
	}
	return writeDocs(root, measured)
}

// measureAll measures rows, and is false when a run of them failed. What was measured
// is printed and written row by row, so that an interruption costs one row.
func measureAll(ctx context.Context, o options, picked []row) (ok bool, err error) {
	b, err := newBench(ctx, o, picked)
	if err != nil {
		return false, err
	}
	defer b.close()
	if o.write { // can it be? Not after twenty minutes.
		if err := redraw(); err != nil {
			return false, err
		}
	}
	ok = true
	measured := results{}
	for _, r := range picked {
		m := b.measure(ctx, r)
		if ctx.Err() != nil {
			return false, errors.New("interrupted")
		}
		ok = ok && r.ok(m)
		measured[r.name] = m
		fmt.Printf("%s: %s\n\n%s\n", r.name, r.asks, sheetOf(r, m))
		if o.json != "" {
			if err := measured.write(o.json); err != nil {
				return ok, err
			}
		}
		if o.write {
			if err := b.keep(r.name, m); err != nil {
				return ok, err
			}
		}
	}
	fmt.Printf("measured in %.0f s\n", time.Since(b.begun).Seconds())
	return ok, nil
}
