// Command isolation measures what a flood of sockets does to the HTTP API, and a
// flood of the API to the sockets. It looks at a running cluster from outside.
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
	"strings"
	"syscall"
	"time"
)

const usage = `usage: isolation [flags]

Asks a cluster's API at a constant rate, alone and then under a flood of sockets:
each says more than its session may, and others come and go. Then members of rooms
talk, alone and then under a flood of the API. Prints how long answers and deliveries
took, JSON, and says what was wrong. A time is never wrong; wrong is an answer other
than 200, 429 and 503, one of the latter without a time to wait, and a message that was
acknowledged and did not come. How much of a flood was refused stands beside it: where
nothing was, limits are lifted, or the machine is too slow for a flood.

  scripts/isolation                           starts the cluster for it, limits and all
  isolation -url http://127.0.0.1:8080        one that runs, in dev mode

flags:
`

const after = `
exit codes: 0 measured, and nothing was wrong · 1 something was · 2 usage
`

// options are what the command line says.
type options struct {
	url      string
	ask      string // path and query of a request for the API, but for who asks
	duration time.Duration
	rounds   int
	probes   float64 // requests a second that are measured
	sockets  int     // of the flood
	says     float64 // messages a second of each
	shakes   float64 // handshakes a second beside them
	requests float64 // a second of the other flood
	patience time.Duration
	json     string
}

func parse(args []string) (options, error) {
	var o options
	quick := false
	f := flag.NewFlagSet("isolation", flag.ContinueOnError)
	f.StringVar(&o.url, "url", "http://127.0.0.1:8080", "where HAProxy `listens`")
	f.StringVar(&o.ask, "ask", "/api/rooms/isolation/messages", "what the API is asked, by GET: `path` and query")
	f.DurationVar(&o.duration, "duration", 4*time.Second, "how long each phase measures")
	f.IntVar(&o.rounds, "rounds", 3, "how often the four phases are run, one after the other")
	f.Float64Var(&o.probes, "probes", 200, "requests a second that are measured")
	f.IntVar(&o.sockets, "sockets", 60, "sockets of the flood")
	f.Float64Var(&o.says, "says", 100, "messages that each of them sends a second: more than session.messages")
	f.Float64Var(&o.shakes, "shakes", 50, "sockets a second that open and close meanwhile")
	f.Float64Var(&o.requests, "requests", 3000, "requests a second of the flood of the API")
	f.DurationVar(&o.patience, "patience", 30*time.Second, "how long to wait for what must come")
	f.StringVar(&o.json, "json", "", "write the results to this `file` instead")
	f.BoolVar(&quick, "quick", false, "a round of short phases: shows that it works")
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
		fmt.Fprint(f.Output(), after)
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if quick {
		o.rounds, o.duration = 1, min(o.duration, 1500*time.Millisecond)
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("what is %q?", f.Arg(0))
	case !strings.HasPrefix(o.url, "http://"):
		return o, errors.New("-url begins with http://")
	case o.rounds < 1 || o.duration <= 0 || o.patience <= 0 || o.sockets < 1 || o.probes <= 0 || o.says <= 0 || o.shakes <= 0 || o.requests <= 0:
		return o, errors.New("all numbers are more than 0")
	}
	return o, nil
}

func main() { os.Exit(start(os.Args[1:], os.Stdout)) }

func start(args []string, out io.Writer) int {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolation:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	measured, err := measure(ctx, o)
	if err == nil {
		err = measured.write(o.json, out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolation:", err)
		return 1
	}
	for _, wrong := range measured.Wrong {
		fmt.Fprintln(os.Stderr, "isolation:", wrong)
	}
	if len(measured.Wrong) > 0 {
		return 1
	}
	return 0
}

// Results are what a run has measured.
type results struct {
	API  compared `json:"api"`  // how long answers took
	Chat compared `json:"chat"` // how long deliveries took

	Asked   answers `json:"asked"`         // of the measured requests
	Said    speech  `json:"said"`          // of the measured rooms
	Sockets speech  `json:"socket_flood"`  // of what was to disturb the API
	Shakes  answers `json:"shake_flood"`   // handshakes among it
	Request answers `json:"request_flood"` // what was to disturb the rooms

	Wrong []string `json:"wrong"`
}

// Compared are times without and with a flood of the other.
type compared struct {
	Alone    times   `json:"alone_ms"`
	Flooded  times   `json:"flooded_ms"`
	P99Ratio float64 `json:"p99_ratio"`
}

func (r *results) write(file string, out io.Writer) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if file != "" {
		return os.WriteFile(file, b, 0o600)
	}
	_, err = out.Write(b)
	return err
}

// measure runs the phases. The four of a round follow each other, so that a
// machine that grows slower does so for all.
func measure(ctx context.Context, o options) (*results, error) {
	var r results
	var apiAlone, apiFlooded, chatAlone, chatFlooded samples
	c := newClient(o)
	defer c.close()
	for range o.rounds {
		if err := c.probe(ctx, &apiAlone, &r.Asked); err != nil {
			return nil, err
		}
		flood, err := c.floodSockets(ctx, &r.Sockets, &r.Shakes)
		if err != nil {
			return nil, err
		}
		err = c.probe(ctx, &apiFlooded, &r.Asked)
		flood.end()
		if err != nil {
			return nil, err
		}
		hall, err := c.openHall(ctx, &r.Said)
		if err != nil {
			return nil, err
		}
		err = hall.talk(ctx, &chatAlone)
		if err == nil {
			requests := c.floodAPI(ctx, &r.Request)
			err = hall.talk(ctx, &chatFlooded)
			requests.end()
		}
		hall.close()
		if err != nil {
			return nil, err
		}
	}
	r.API, r.Chat = compare(&apiAlone, &apiFlooded), compare(&chatAlone, &chatFlooded)
	r.judge()
	return &r, nil
}

// judge says what was wrong.
func (r *results) judge() {
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
		}
	}
	r.Wrong = []string{}
	for name, a := range map[string]*answers{"measured requests": &r.Asked, "handshakes of the flood": &r.Shakes, "requests of the flood": &r.Request} {
		wrong(a.Good == 0, "%s: none was answered", name)
		wrong(a.NoHint > 0, "%s: %d were refused without Retry-After", name, a.NoHint)
		wrong(len(a.Other) > 0, "%s: other answers than 200, 429 and 503: %v", name, a.Other)
	}
	for name, s := range map[string]*speech{"measured rooms": &r.Said, "flood of sockets": &r.Sockets} {
		wrong(s.Acknowledged == 0, "%s: nothing was said", name)
		wrong(s.Unanswered > 0, "%s: %d messages were not answered", name, s.Unanswered)
		wrong(len(s.Other) > 0, "%s: other errors than rate_limited and unavailable: %v", name, s.Other)
		wrong(s.Closed > 0, "%s: %d sockets were closed", name, s.Closed)
	}
	wrong(r.Said.Delivered == 0, "measured rooms: nothing was delivered")
	wrong(r.Said.Lost > 0, "measured rooms: %d deliveries were lost", r.Said.Lost)
	wrong(r.Said.Disorder > 0, "measured rooms: %d deliveries were doubled or out of order", r.Said.Disorder)
}
