// Command fanout measures what a node costs: memory for each idle member, and
// processor time for each delivery. Its members are raw sockets with a frame
// scanner, so that one core of them can keep up with a node. It knows the wire
// and nothing of the server.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

const usage = `usage: fanout VERB [flags]

  idle   joins many members that say nothing, and reads the node's memory before
         and after: kB for each idle joined connection
  talk   says messages in rooms and counts deliveries: deliveries per second of
         the node's processor time, publish → deliver times

  fanout idle -url ws://127.0.0.1:9301 -pid 4711 -n 8000 -rooms 800
  fanout talk -url ws://127.0.0.1:9301 -pid 4711                 closed loop, 1,000 members
  fanout talk -url ws://127.0.0.1:9301 -pid 4711 -rate 50        open loop
  fanout talk -url ws://127.0.0.1:8080 -rooms 50 -members 10 -rate 200
                                                                 through HAProxy

The nodes must know users by ?user= (auth.mode=dev). Through HAProxy, its limits
of connections per address must be raised. "fanout VERB -h" lists the flags.

exit codes: 0 measured · 1 something went wrong, or was lost or out of order,
or nothing was delivered · 2 usage
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	var err error
	switch verb {
	case "idle":
		err = idle(ctx, os.Args[2:])
	case "talk":
		err = talk(ctx, os.Args[2:])
	case "-h", "-help", "--help":
		fmt.Print(usage)
	case "":
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "fanout: unknown verb: %s (see -h)\n", verb)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fanout:", err)
		os.Exit(1)
	}
}

// flags makes a flag set that exits with 2, and what every verb has.
func flags(verb string) (f *flag.FlagSet, url, pids, file *string) {
	f = flag.NewFlagSet("fanout "+verb, flag.ExitOnError)
	url = f.String("url", "ws://127.0.0.1:8080", "`address` of the node, or of the cluster")
	pids = f.String("pid", "", "process `ids` of the nodes to measure, comma separated")
	file = f.String("json", "", "also write the figures as JSON to this `file`")
	return f, url, pids, file
}

// usageError ends the program as a wrong flag does.
func usageError(f *flag.FlagSet, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "fanout: "+format+"\n", args...)
	f.Usage()
	os.Exit(2)
}

func parsePIDs(s string) ([]int, error) {
	var pids []int
	for _, p := range strings.Split(s, ",") {
		if p == "" {
			continue
		}
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil, fmt.Errorf("%q is no process id", p)
		}
		pids = append(pids, n)
	}
	return pids, nil
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
