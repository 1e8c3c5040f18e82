// Command fanout measures what a server of rooms costs: memory for each idle
// member, and processor time for each delivery, connection, publish and return.
// It speaks to chatring and, for comparison, to others (-wire), with the same
// payload, rooms and rates. It knows the wire and nothing of the server.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: fanout VERB [flags]

  talk     says messages in rooms and counts deliveries: deliveries per second of
           the servers' processor time, publish → deliver times
  idle     joins many members that say nothing, and reads the node's memory before
           and after: kB for each idle joined connection, and for each further room
  connect  joins and leaves as fast as it can: upgrades per second, and per second
           of processor time
  publish  publishes in rooms of one member, each session as fast as it is
           answered: acknowledgements per second, and per second of processor time
           of each process
  return   leaves a room and joins it again by position: processor time of a join
           with and without messages that were missed, and of a history reply

  fanout talk -url ws://127.0.0.1:9301 -pid 4711                 closed loop, 1,000 members
  fanout talk -url ws://127.0.0.1:9301 -pid 4711 -rate 50        open loop
  fanout talk -url ws://127.0.0.1:9301 -pid 4711 -sse            listeners over SSE
  fanout talk -url ws://127.0.0.1:8080 -pid 4711,4712 -rooms 50 -members 10 -rate 200
                                                                 through HAProxy, which is 4712
  fanout talk -url ws://127.0.0.1:3000 -wire socketio -rate 50   a Socket.IO server
  fanout idle -url ws://127.0.0.1:9301 -pid 4711 -n 8000 -rooms 800 -more 10
  fanout connect -url ws://127.0.0.1:9301 -pid 4711 -token-file tokens
  fanout publish -url ws://127.0.0.1:9301 -pid 4711,4713         4713 is Redis
  fanout return -url ws://127.0.0.1:9301 -pid 4711

-wire says what the server speaks: chatring (docs/protocol.md), socketio, nats or
plain (loadtest/peers has such servers). idle -more and return are for chatring,
publish is for those that acknowledge (chatring, socketio).

-pid names the processes whose cost is measured; what descends from them counts,
too. The figures of this program's own processor time say whether it was the
bottleneck: each of its threads (-threads) can use one CPU.

chatring's nodes must know users by ?user= (auth.mode=dev), or a token is needed.
Through HAProxy, its limits of connections per address must be raised, and the
nodes' limits per user and session for all but the smallest load: scripts/up does
both. "fanout VERB -h" lists the flags.

exit codes: 0 measured · 1 something went wrong, or was lost or out of order,
or nothing happened · 2 usage
`

// verbs are what this program does.
var verbs = map[string]func(ctx context.Context, args []string, out io.Writer) error{
	"connect": connect,
	"idle":    idle,
	"publish": publish,
	"return":  comeBack,
	"talk":    talk,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errMisuse is an error in the command line.
var errMisuse = errors.New("(see -h)")

func misuse(format string, args ...any) error {
	return fmt.Errorf("%s %w", fmt.Sprintf(format, args...), errMisuse)
}

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
		fmt.Fprintf(errs, "fanout: unknown verb: %s (see -h)\n", args[0])
		return 2
	}
	switch err := verb(ctx, args[1:], out); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errMisuse):
		fmt.Fprintln(errs, "fanout:", err)
		return 2
	default:
		fmt.Fprintln(errs, "fanout:", err)
		return 1
	}
}

// A target is what every verb is told: whom to load, and whom to measure.
type target struct {
	url     string
	name    string
	wire    wire
	tokens  []string
	pids    []int
	threads int
	file    string
	size    int // of data, for verbs that say something
	settle  time.Duration
	out     io.Writer
}

// flags makes the flags that every verb has.
func flags(verb string, out io.Writer) (*flag.FlagSet, *target) {
	f, t := flag.NewFlagSet("fanout "+verb, flag.ContinueOnError), &target{out: out}
	f.StringVar(&t.url, "url", "ws://127.0.0.1:8080", "`address` of the server")
	f.StringVar(&t.name, "wire", "chatring", "what the server speaks, by `name`: "+strings.Join(slices.Sorted(maps.Keys(wires)), ", "))
	f.Func("token", "a `token` that all sockets show", func(s string) error {
		t.tokens = append(t.tokens, s)
		return nil
	})
	f.Func("token-file", "tokens that sockets show in turn: a `file` with one in each line", func(path string) error {
		b, err := os.ReadFile(path)
		t.tokens = append(t.tokens, strings.Fields(string(b))...)
		return err
	})
	f.Func("pid", "process `ids` to measure, with all that descend from them, comma separated", func(s string) error {
		for p := range strings.SplitSeq(s, ",") {
			if p == "" {
				continue
			}
			n, err := strconv.Atoi(p)
			if err != nil {
				return fmt.Errorf("%q is no process id", p)
			}
			t.pids = append(t.pids, n)
		}
		return nil
	})
	f.IntVar(&t.threads, "threads", max(runtime.GOMAXPROCS(0)-1, 1), "threads of this program at most; a room belongs to one of them")
	f.StringVar(&t.file, "json", "", "also write the figures as JSON to this `file`")
	return f, t
}

// parse reads the command line.
func (t *target) parse(f *flag.FlagSet, args []string) error {
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	speak, ok := wires[t.name]
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(t.out, "flags of %s:\n", f.Name())
		f.SetOutput(t.out)
		f.PrintDefaults()
		return err
	case err != nil:
		return misuse("%v", err)
	case f.NArg() > 0:
		return misuse("unknown argument: %s", f.Arg(0))
	case !ok:
		return misuse("unknown wire: %s", t.name)
	case t.threads < 1:
		return misuse("-threads is at least 1")
	case f.Lookup("bytes") != nil && t.size < leastData:
		return misuse("-bytes is at least %d", leastData)
	}
	t.wire = speak(t.size)
	return nil
}

// sized adds the flag of verbs that say something.
func (t *target) sized(f *flag.FlagSet) {
	f.IntVar(&t.size, "bytes", 64, fmt.Sprintf("bytes of data in each message, %d at least", leastData))
}

// settled adds the flag of verbs that count what was lost.
func (t *target) settled(f *flag.FlagSet) {
	f.DurationVar(&t.settle, "settle", 5*time.Second, "how long to wait in the end for what is under way; then it is missing")
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
