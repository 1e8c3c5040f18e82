package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A play is one run of loadtest/replay, in a process of its own: the load, and the
// checker that knows nothing of the cluster.
type play struct {
	cmd    *exec.Cmd
	report string // where it is written
	said   bytes.Buffer
	ended  chan struct{} // closed when the process has
	err    error         // of the process; read after ended

	// Guarded by mu.
	mu    sync.Mutex
	beats []beat
}

// A beat is how the play stands at one moment (loadtest/replay -trace).
type beat struct {
	At           time.Time  `json:"at"`
	Acknowledged int        `json:"acknowledged"`
	Declared     int        `json:"declared"`
	Away         int        `json:"readers_away"`
	Gone         float64    `json:"away_s"`
	Waiting      float64    `json:"waiting_s"`
	Late         float64    `json:"late_s"`
	Ended        int        `json:"sessions_ended"`
	Handshakes   int        `json:"handshakes"`
	Refused      int        `json:"failed_handshakes"`
	Heard        []delivery `json:"heard"`
}

type delivery struct {
	MS    float64 `json:"ms"`
	Shard string  `json:"shard"`
	Sits  float64 `json:"session_s"`
	Again bool    `json:"said_again"`
}

// calmWithin is how long a line may wait, a message be late, and a reader be between
// two sessions, while nothing is wrong.
const calmWithin = 0.5

// calm says whether nobody waits, for an answer, a message or a session.
func (b beat) calm() bool {
	return b.Gone < calmWithin && b.Waiting < calmWithin && b.Late < calmWithin
}

// A script is what is played.
type script struct {
	messages int     // of each room; 0: all
	rate     float64 // messages per second in all rooms together
	quiet    int     // messages before the fault: the measure of what is normal
	settle   time.Duration
	timeout  time.Duration
}

// startPlay plays the excerpt through addresses.
func startPlay(replay, root, work string, s script, addresses []string) (*play, error) {
	p := &play{report: filepath.Join(work, "replay.json"), ended: make(chan struct{})}
	at, from, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	bases := ""
	for i, a := range addresses {
		if i > 0 {
			bases += ","
		}
		bases += "ws://" + a
	}
	p.cmd = exec.Command(replay, "-direct", bases, "-json", p.report, "-trace", "/dev/fd/3", "-progress", "0",
		"-messages", strconv.Itoa(s.messages), "-rate", fmt.Sprint(s.rate), "-speakers", "6",
		"-settle", s.settle.String(), "-timeout", s.timeout.String(),
		filepath.Join(root, "loadtest/data/ubuntu-excerpt.jsonl"))
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.ExtraFiles = []*os.File{from}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = p.cmd.Start()
	from.Close()
	if err != nil {
		at.Close()
		return nil, fmt.Errorf("replay: %w", err)
	}
	go p.follow(at)
	return p, nil
}

// follow reads the beats until the process has ended.
func (p *play) follow(at *os.File) {
	defer close(p.ended)
	defer at.Close()
	lines := bufio.NewScanner(at)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var b beat
		if json.Unmarshal(lines.Bytes(), &b) != nil {
			continue // the last line of a process that was killed
		}
		p.mu.Lock()
		p.beats = append(p.beats, b)
		p.mu.Unlock()
	}
	p.err = p.cmd.Wait()
}

// last is the last beat, all is every one so far.
func (p *play) last() beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.beats) == 0 {
		return beat{}
	}
	return p.beats[len(p.beats)-1]
}

func (p *play) all() []beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.beats)
}

// await waits for a beat.
func (p *play) await(ctx context.Context, what string, is func(beat) bool) error {
	for !is(p.last()) {
		select {
		case <-p.ended:
			return fmt.Errorf("the play ended before %s: %s", what, tail(p.said.Bytes()))
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w", what, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// kill ends the play, if it has not ended.
func (p *play) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-p.ended
}

// A report is what loadtest/replay has found.
type report struct {
	OK           bool    `json:"ok"`
	Why          string  `json:"why"`
	Acknowledged int     `json:"acknowledged"`
	Messages     int     `json:"messages"`
	Silence      float64 `json:"longest_silence_seconds"`
	Refusals     int     `json:"failed_handshakes"`

	Closings  map[string]int `json:"closings"` // close code, or "broken" → sessions
	Placement struct {
		Split int `json:"split"`
	} `json:"placement_run"`
	Found struct {
		Lost, Doubled, Diverged, Altered, Refused, Unanswered, Resets int

		Disordered int `json:"out_of_order"`
		Holes      int `json:"undeclared_holes"`
		Reordered  int `json:"recording_order"`
		NotKept    int `json:"not_in_log"`
		Trimmed    int `json:"not_in_log_after_reset"`
		Gaps       int `json:"declared_gaps"`
		Foreign    int `json:"foreign"`
		Examples   []string
	} `json:"found"`
}

// wait waits for the play's end and returns what it found.
func (p *play) wait(ctx context.Context) (report, error) {
	var r report
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.kill()
		return r, fmt.Errorf("the play did not end: %w", ctx.Err())
	}
	b, err := os.ReadFile(p.report)
	if err != nil {
		return r, errors.Join(p.err, err, errors.New(tail(p.said.Bytes())))
	}
	return r, json.Unmarshal(b, &r)
}

func tail(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[max(0, len(b)-600):])
}
