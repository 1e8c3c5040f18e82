// Command people measures what a cluster does for people beside chat: how soon friends
// see a change of somebody's status, what notifications cost, and how long the list of
// one's rooms takes. It knows docs/protocol.md and docs/services.md, and nothing of the
// servers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/chatring/chatring/loadtest/proc"
)

const usage = `usage: people VERB [flags]

  status   pairs of friends; one of each changes the status, goes and comes back: time
           until the other one is told, processor time for each change
  notify   a service notifies many users, of whom some are online: notifications per
           second, and per second of processor time, time until they are heard
  rooms    users who keep many rooms ask for the list of them: time and processor time
           of an answer

  people status -url http://127.0.0.1:8080 -pairs 100 -pid 4711,4712
  people notify -url http://127.0.0.1:8080 -users 1000 -online 200 -pid 4711,4712
  people rooms  -url http://127.0.0.1:8080 -rooms 200

The nodes must know users by ?user= and services by ?service= (auth.mode=dev), and
the limits per address, user and service must be lifted: scripts/up does both.
-pid names the processes whose cost is measured; what descends from them counts, too.
"people VERB -h" lists the flags.

exit codes: 0 measured · 1 something went wrong, or was lost · 2 usage
`

var verbs = map[string]func(ctx context.Context, args []string, out io.Writer) error{
	"notify": notify,
	"rooms":  rooms,
	"status": status,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errMisuse is an error in the command line.
var errMisuse = errors.New("(see -h)")

// run is the program; it returns its exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errs, usage)
		return 2
	}
	if slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		fmt.Fprint(out, usage)
		return 0
	}
	verb, ok := verbs[args[0]]
	if !ok {
		fmt.Fprintf(errs, "people: unknown verb: %s (see -h)\n", args[0])
		return 2
	}
	switch err := verb(ctx, args[1:], out); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errMisuse):
		fmt.Fprintln(errs, "people:", err)
		return 2
	default:
		fmt.Fprintln(errs, "people:", err)
		return 1
	}
}

// A target is what every verb is told.
type target struct {
	url  string
	pids []int
	file string
}

// flags makes the flags that every verb has.
func flags(verb string, out io.Writer) (*flag.FlagSet, *target) {
	f, t := flag.NewFlagSet("people "+verb, flag.ContinueOnError), &target{}
	f.SetOutput(out)
	f.StringVar(&t.url, "url", "http://127.0.0.1:8080", "`address` of the cluster")
	f.Func("pid", "process `ids` to measure, comma separated", func(s string) error {
		for p := range strings.SplitSeq(s, ",") {
			n, err := strconv.Atoi(p)
			if err != nil {
				return fmt.Errorf("%q is no process id", p)
			}
			t.pids = append(t.pids, n)
		}
		return nil
	})
	f.StringVar(&t.file, "json", "", "also write the figures as JSON to this `file`")
	return f, t
}

// parse reads the command line; every number must be 1 at least.
func (t *target) parse(f *flag.FlagSet, args []string, numbers ...*int) error {
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errMisuse // the flags have said why
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unknown argument: %s %w", f.Arg(0), errMisuse)
	}
	if !strings.HasPrefix(t.url, "http://") && !strings.HasPrefix(t.url, "https://") {
		return fmt.Errorf("-url is no address: %s %w", t.url, errMisuse)
	}
	for _, n := range numbers {
		if *n < 1 {
			return fmt.Errorf("every number must be 1 at least %w", errMisuse)
		}
	}
	return nil
}

// A cost is what something took of the processors.
type cost struct {
	Seconds   float64    `json:"seconds"`
	CPU       float64    `json:"cpu_seconds,omitempty"` // of the processes that are measured
	Own       float64    `json:"generator_cpu_seconds"`
	Processes []proc.Use `json:"processes,omitempty"`
}

// measure does something and says what it took.
func (t *target) measure(do func() error) (cost, error) {
	before, err := proc.UsesOf(t.pids)
	if err != nil {
		return cost{}, err
	}
	begun, own := time.Now(), proc.OwnCPU()
	if err := do(); err != nil {
		return cost{}, err
	}
	after, err := proc.UsesOf(t.pids)
	if err != nil {
		return cost{}, err
	}
	used := proc.Between(before, after)
	return cost{time.Since(begun).Seconds(), proc.Total(used), proc.OwnCPU() - own, used}, nil
}

// print says what each of n things took.
func (c cost) print(out io.Writer, n int, of string) {
	if c.CPU > 0 && n > 0 {
		fmt.Fprintf(out, "processor              %.2f s: %.0f µs for each %s, %.0f in a CPU second\n", c.CPU, 1e6*c.CPU/float64(n), of, float64(n)/c.CPU)
		for _, s := range proc.Shares(c.Processes) {
			fmt.Fprintf(out, "  %-20s %.2f s (%.2f user, %.2f system), %d processes\n", s.Name, s.User+s.System, s.User, s.System, s.Processes)
		}
	}
	fmt.Fprintf(out, "this program           %.2f s on the same processors\n", c.Own)
}

// latency is a distribution, in milliseconds.
type latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func latencyOf(d []time.Duration) latency {
	if len(d) == 0 {
		return latency{}
	}
	slices.Sort(d)
	at := func(share float64) float64 { return float64(d[int(share*float64(len(d)-1))].Microseconds()) / 1000 }
	return latency{len(d), at(0.5), at(0.99), at(1)}
}

func (l latency) String() string {
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, max %.2f ms (%d)", l.P50, l.P99, l.Max, l.Count)
}

func write(path string, v any) error {
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
