// Command chaos breaks a real cluster on purpose, one fault at a time, while a
// recorded conversation is played through it, and asks the player, which knows
// nothing of the cluster, what was lost, doubled or disordered.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `usage: scripts/chaos [flags] [FAULT…]

Starts the real cluster (HAProxy, Redis, four nodes: scripts/up) for each fault,
plays the recorded conversation through it (loadtest/replay), breaks something in
the middle, mends it, and prints a table of what the checker has found: nothing
acknowledged may be lost, doubled or out of order, no hole may be undeclared, and
what is promised about time must hold. All faults take a quarter of an hour.

  scripts/chaos --list             the faults, and what each one proves
  scripts/chaos                    all of them
  scripts/chaos kill drain         these
  scripts/chaos --quick            the short ones, as scripts/test runs them
  scripts/chaos --write            all, and their table into docs/guarantees.md

flags:
`

const after = `
CHATRING_BIN is a node to run instead of building one: to see that a row fails when
its repair is taken out.

exit codes: 0 every promise was kept · 1 one was broken, or a row could not be
run · 2 usage
`

// options are what the command line says.
type options struct {
	list, quick, write bool
	port               int
	json, work         string
	verbose            bool
	names              []string
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.BoolVar(&o.list, "list", false, "print the faults and what each one proves")
	f.BoolVar(&o.quick, "quick", false, "only the short ones, with less to say; times may be four times as long")
	f.BoolVar(&o.write, "write", false, "write the table into docs/guarantees.md when all faults have been run")
	f.IntVar(&o.port, "port", 24800, "`port` of HAProxy; the cluster takes those that follow, up to 120 more")
	f.StringVar(&o.json, "json", "", "also write the rows as JSON to this `file`")
	f.StringVar(&o.work, "work", "", "`folder` for the cluster's state, logs and programs (default: a temporary one)")
	f.BoolVar(&o.verbose, "v", false, "print the ends of the logs when a row fails")
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
		fmt.Fprint(f.Output(), after)
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.names = f.Args()
	if o.write && (o.quick || len(o.names) > 0) {
		return o, errors.New("-write wants all faults: leave out their names, and -quick")
	}
	return o, nil
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var picked []fault
	if err == nil {
		picked, err = pick(o.names, o.quick)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	if o.list {
		for _, f := range picked {
			fmt.Printf("%-18s %s\n", f.name, f.promise)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ok, err := runAll(ctx, o, picked)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if err != nil || !ok {
		return 1
	}
	return 0
}

func runAll(ctx context.Context, o options, picked []fault) (ok bool, err error) {
	r, err := newRunner(ctx, o)
	if err != nil {
		return false, err
	}
	defer r.close()
	begun := time.Now()
	ok = true
	var rows []row
	for i, f := range picked {
		row := r.run(ctx, f)
		rows = append(rows, row)
		ok = ok && row.ok()
		fmt.Fprintf(os.Stderr, "chaos: %2d of %d  %-18s %-6s %3.0f s\n", i+1, len(picked), f.name, verdict(row), row.Seconds)
		if ctx.Err() != nil {
			return false, errors.New("interrupted")
		}
	}
	fmt.Print(table(rows))
	fmt.Printf("%d faults, %d broken, in %.0f s\n", len(rows), countBroken(rows), time.Since(begun).Seconds())
	if o.json != "" {
		err = writeJSON(o.json, rows)
	}
	if o.write && err == nil {
		err = writeGuarantees(r.root, rows)
	}
	return ok, err
}
