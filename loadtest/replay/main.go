// Command replay plays a recorded conversation through a cluster, as its
// speakers, with readers in each room, and checks that every acknowledged
// message came to every reader once and in one order. It knows the wire and
// nothing of the server: it shares no code with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const usage = `usage: replay [flags] [RECORDING]

Plays RECORDING (default loadtest/data/ubuntu-excerpt.jsonl; .gz is read too)
through a cluster: each room's lines are said in the recorded order by sessions
of their nicks, all rooms at once, while readers listen in each room. A message
is sent again, under the same key and over reconnects, until it is acknowledged;
readers come back by position. So nodes and Redis may be killed meanwhile.

  replay                                            the excerpt, through :8080
  replay -rate 2000 -json out.json ubuntu-irc.jsonl.gz
  replay -rooms 20 -messages 200                    the first lines of 20 rooms
  replay -direct ws://127.0.0.1:8081,ws://127.0.0.1:8082
                                                    every room on both nodes

The nodes must know users by ?user= (auth.mode=dev), and HAProxy's limits of
connections per address must be raised: all sockets come from one address.

flags:
`

const after = `
exit codes: 0 every acknowledged message was delivered to every reader once and
in order · 1 something was lost, doubled, disordered, refused or not answered,
or nothing was acknowledged at all · 2 usage
`

// options are what the command line says.
type options struct {
	recording string
	bases     []string
	limits    limits
	suffix    string
	readers   int
	speakers  int
	rate      float64
	dials     int
	settle    time.Duration
	timeout   time.Duration
	progress  time.Duration
	json      string
	trace     string
	beats     io.Writer // where the trace goes; nil: none
}

func parse(args []string) (options, error) {
	var o options
	var url, direct string
	f := flag.NewFlagSet("replay", flag.ContinueOnError)
	f.StringVar(&url, "url", "ws://127.0.0.1:8080", "the cluster's `address`, through HAProxy")
	f.StringVar(&direct, "direct", "", "`addresses` of nodes, comma separated, instead of -url: the sockets of every room take turns over them")
	f.IntVar(&o.limits.rooms, "rooms", 0, "at most so many rooms, the first of the recording (0: all)")
	f.IntVar(&o.limits.lines, "messages", 0, "at most so many messages of each room, its first (0: all)")
	f.StringVar(&o.suffix, "suffix", "", "appended to the rooms' names, to play in fresh rooms")
	f.IntVar(&o.readers, "readers", 3, "readers in each room, from before the first message on")
	f.IntVar(&o.speakers, "speakers", 12, "speakers' sessions kept open in each room; the one silent longest is closed for the next")
	f.Float64Var(&o.rate, "rate", 0, "messages per second in total (0: as fast as the acknowledgements allow)")
	f.IntVar(&o.dials, "dials", 64, "handshakes under way at once")
	f.DurationVar(&o.settle, "settle", 30*time.Second, "how long to wait at the end for what is acknowledged to come to all readers")
	f.DurationVar(&o.timeout, "timeout", 15*time.Minute, "when to give up saying, whatever is left")
	f.DurationVar(&o.progress, "progress", 5*time.Second, "how often a line on stderr says how far it is (0: never)")
	f.StringVar(&o.json, "json", "", "also write the report as JSON to this `file`")
	f.StringVar(&o.trace, "trace", "", "write a line of JSON to this `file` ten times a second, saying how the run stands")
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
		fmt.Fprint(f.Output(), after)
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.bases = []string{url}
	if direct != "" {
		o.bases = strings.Split(direct, ",")
	}
	for i, b := range o.bases {
		o.bases[i] = strings.TrimSuffix(b, "/")
		if !strings.HasPrefix(b, "ws://") && !strings.HasPrefix(b, "wss://") {
			return o, fmt.Errorf("%q is no ws:// address", b)
		}
	}
	o.recording = "loadtest/data/ubuntu-excerpt.jsonl"
	switch {
	case f.NArg() == 1:
		o.recording = f.Arg(0)
	case f.NArg() > 1:
		return o, fmt.Errorf("one recording at a time, not %q", f.Args())
	}
	if o.readers < 1 || o.speakers < 1 || o.dials < 1 || o.rate < 0 {
		return o, fmt.Errorf("-readers, -speakers and -dials are at least 1, -rate at least 0")
	}
	return o, nil
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(2)
	}
	rooms, err := readRecording(o.recording, o.limits)
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(2)
	}
	if err := fit(&o, len(rooms)); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.trace != "" {
		f, err := os.OpenFile(o.trace, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			fmt.Fprintln(os.Stderr, "replay:", err)
			os.Exit(2)
		}
		defer f.Close()
		o.beats = f
	}
	r := play(ctx, o, rooms)
	fmt.Print(r)
	if o.json != "" {
		if err := r.write(o.json); err != nil {
			fmt.Fprintln(os.Stderr, "replay:", err)
			os.Exit(1)
		}
	}
	if !r.OK {
		os.Exit(1)
	}
}

// fit lowers the number of speakers until all sockets fit under the limit of
// open files.
func fit(o *options, rooms int) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	most := int(min(l.Cur, 1<<30)) - 200 // room for handshakes and goodbyes
	if rooms*(o.readers+1) > most {
		return fmt.Errorf("%d rooms with %d readers do not fit under %d open files", rooms, o.readers, l.Cur)
	}
	if rooms > 0 && rooms*(o.readers+o.speakers) > most {
		o.speakers = most/rooms - o.readers
		fmt.Fprintf(os.Stderr, "replay: %d open files allow for %d speakers in each room\n", l.Cur, o.speakers)
	}
	return nil
}

// play runs the whole conversation and reports. It ends within the timeout and
// the time to settle, or soon after ctx ends.
func play(ctx context.Context, o options, rooms []recording) *report {
	begun := time.Now()
	saying, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	// Readers outlive the interruption of the speakers, to hear the last ones.
	listening, silence := context.WithCancel(context.WithoutCancel(ctx))
	defer silence()

	p := &player{
		options: o,
		run:     strconv.FormatInt(begun.UnixMilli(), 36),
		dialer:  newDialer(o.dials),
		places:  newPlacement(),
		pace:    newPace(o.rate),
		quit:    cancel,
	}
	var readers, speakers sync.WaitGroup
	for _, rec := range rooms {
		l := newLedger(rec.room + o.suffix)
		l.tracing = o.beats != nil
		p.ledgers = append(p.ledgers, l)
		p.stages = append(p.stages, newStage(l.room, p.bases, p.speakers, p.dialer, p.places))
	}
	all := p.listen(listening, &readers)
	told := make(chan struct{})
	if o.progress > 0 {
		go p.tell(told)
	}
	var tracing sync.WaitGroup
	if o.beats != nil {
		tracing.Go(func() { p.writeBeats(told) })
	}
	joined := waitAll(saying, all, joinTimeout)
	p.began = time.Now()
	if joined {
		for i, rec := range rooms {
			speakers.Go(func() { p.speak(saying, i, rec) })
		}
		speakers.Wait()
		p.settle(ctx)
	}
	spent := time.Since(p.began)
	run, now := p.places.over() // speakers are still there
	for _, st := range p.stages {
		st.close()
	}
	if joined {
		p.auditAll(ctx)
	}
	close(told)
	tracing.Wait()
	silence()
	readers.Wait()
	return p.report(countLines(rooms), joined, spent, run, now)
}

// A player plays one recording once.
type player struct {
	options
	run     string // begins the keys of this run
	dialer  *dialer
	places  *placement
	pace    *pace
	ledgers []*ledger // of each room
	stages  []*stage  // of each room
	began   time.Time
	quit    context.CancelFunc // stops the speakers

	mu      sync.Mutex
	failed  []error // of readers that may not come back, and of audits
	failN   atomic.Int64
	lastAck time.Time
	silence time.Duration // the longest without any acknowledgement
	silent  time.Time     // when it began
}

// acked notes the moment of an acknowledgement.
func (p *player) acked(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := at.Sub(p.lastAck); !p.lastAck.IsZero() && d > p.silence {
		p.silence, p.silent = d, p.lastAck
	}
	p.lastAck = at
}

// fail notes an error that makes the result bad.
func (p *player) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = append(p.failed, err)
	p.failN.Add(1)
}

// listen starts the readers of all rooms, and answers one channel for each,
// closed when it has joined.
func (p *player) listen(ctx context.Context, wg *sync.WaitGroup) []<-chan struct{} {
	var all []<-chan struct{}
	for _, l := range p.ledgers {
		for i := range p.readers {
			name := fmt.Sprintf("reader%d", i)
			r := newReader(l.room, name, p.bases[i%len(p.bases)], p.dialer, p.places, l.reader(name))
			all = append(all, r.joined)
			wg.Go(func() {
				if err := r.run(ctx); err != nil {
					p.fail(err)
					p.quit()
				}
			})
		}
	}
	return all
}

// joinTimeout is how long the readers may take to join at the beginning.
const joinTimeout = time.Minute

func waitAll(ctx context.Context, all []<-chan struct{}, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, c := range all {
		select {
		case <-c:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// speak says one room's recording, line after line.
func (p *player) speak(ctx context.Context, i int, rec recording) {
	l, st := p.ledgers[i], p.stages[i]
	for n, line := range rec.lines {
		if !p.pace.wait(ctx) {
			return
		}
		l.turn(time.Now())
		data, err := encode(struct {
			Text string `json:"text"`
		}{line.text})
		if err != nil {
			panic(err) // a string can always be encoded
		}
		key := fmt.Sprintf("%s.%d.%d", p.run, i, n)
		pos, err := st.say(ctx, line.nick, key, data, func(again bool) {
			if again {
				l.sayAgain(key)
			} else {
				l.say(key, line.nick, string(data), time.Now())
			}
		})
		switch {
		case err == nil:
			now := time.Now()
			l.ack(key, pos, now)
			p.acked(now)
		case ctx.Err() != nil:
			return
		default:
			l.refuse(key, err)
		}
	}
}

// settle waits until everything acknowledged has come to all readers.
func (p *player) settle(ctx context.Context) {
	for end := time.Now().Add(p.options.settle); time.Now().Before(end) && p.failN.Load() == 0; {
		missing := 0
		for _, l := range p.ledgers {
			missing += l.missing()
		}
		if missing == 0 || !sleep(ctx, 50*time.Millisecond) {
			return
		}
	}
}

// auditAll reads the logs of all rooms.
func (p *player) auditAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	var audits sync.WaitGroup
	for _, l := range p.ledgers {
		audits.Go(func() {
			if err := p.audit(ctx, l); err != nil {
				p.fail(err)
			}
		})
	}
	audits.Wait()
}

// auditTimeout is how long the reading of all logs may take.
const auditTimeout = time.Minute

// tell says on stderr how far the play is.
func (p *player) tell(done <-chan struct{}) {
	ticks := time.NewTicker(p.progress)
	defer ticks.Stop()
	acks := 0
	for {
		select {
		case <-done:
			return
		case <-ticks.C:
		}
		said, acked, delivered := 0, 0, 0
		for _, l := range p.ledgers {
			s, a, d := l.counts()
			said, acked, delivered = said+s, acked+a, delivered+d
		}
		away, sockets := p.places.away()
		fmt.Fprintf(os.Stderr, "replay: %d said, %d acknowledged (%.0f/s), %d delivered, %d sockets, %d readers away\n",
			said, acked, float64(acked-acks)/p.progress.Seconds(), delivered, sockets, away)
		acks = acked
	}
}

// pace hands out the moments at which messages may be said.
type pace struct {
	every time.Duration // 0: at once

	mu   sync.Mutex
	next time.Time
}

func newPace(rate float64) *pace {
	if rate <= 0 {
		return &pace{}
	}
	return &pace{every: time.Duration(float64(time.Second) / rate)}
}

// wait waits for the next moment, and is false when ctx ended first. Moments
// that passed while nobody asked are not made up for.
func (p *pace) wait(ctx context.Context) bool {
	if p.every == 0 {
		return ctx.Err() == nil
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	at := p.next
	p.next = p.next.Add(p.every)
	p.mu.Unlock()
	return sleep(ctx, at.Sub(now))
}
