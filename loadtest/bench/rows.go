package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// A row is one question, and the lines that answer it.
type row struct {
	name      string
	asks      string   // what is measured
	remark    string   // on how, if it needs one
	contender string   // what the lines are
	metrics   []metric // the first is what is compared
	ratios    []ratio
	lines     []line
	earlier   []earlier

	quick  bool          // --quick has it
	rounds int           // at most so many, however many are asked for; 0: as many
	beside time.Duration // what a run takes beside what it measures, about
}

// A line is one contender of a row.
type line struct {
	name   string // in the table
	system string // which -only names
	slow   bool   // --quick has others of its kind
	run    func(context.Context, *stage, *run) error
}

func (r row) roundsOf(o options) int {
	if r.rounds > 0 {
		return min(r.rounds, o.rounds)
	}
	return o.rounds
}

// ok says whether nothing of ours failed, and every peer could be measured.
func (r row) ok(m measurement) bool {
	for _, of := range m.Runs {
		at := slices.IndexFunc(r.lines, func(l line) bool { return l.name == of.Line })
		own := r.lines[at].system == ours || r.lines[at].system == "floor"
		if of.Wrong != "" && (own || of.Figures == nil) {
			return false
		}
	}
	return true
}

// pick returns the rows and lines that are asked for.
func pick(o options) ([]row, error) {
	all := allRows()
	only := o.only
	if o.quick && only == nil {
		only = []string{"floor", "chatring", "broadcast"}
	}
	for _, name := range o.names {
		if !slices.ContainsFunc(all, func(r row) bool { return r.name == name }) {
			return nil, fmt.Errorf("there is no row %q (see --list)", name)
		}
	}
	var picked []row
	for _, r := range all {
		named := slices.Contains(o.names, r.name)
		if !named && (len(o.names) > 0 || o.quick && !r.quick) {
			continue
		}
		if o.quick {
			r.earlier = nil // who have nothing in common with so short a run
			r.lines = slices.DeleteFunc(r.lines, func(l line) bool { return l.slow })
		}
		if only != nil {
			r.lines = slices.DeleteFunc(r.lines, func(l line) bool { return !slices.Contains(only, l.system) })
		}
		if len(r.lines) > 0 {
			picked = append(picked, r)
		}
	}
	if len(picked) == 0 {
		return nil, fmt.Errorf("no line of these rows is one of %v", only)
	}
	return picked, nil
}

// Metrics, by their keys in the data.
var (
	perCPU     = metric{key: "deliveries_per_cpu_second", title: "deliveries per CPU-second", write: count}
	p50        = metric{key: "p50_ms", title: "p50 ms", less: true, write: small}
	p99        = metric{key: "p99_ms", title: "p99 ms", less: true, write: small}
	came       = metric{key: "deliveries_per_second", title: "deliveries per second", write: count}
	busy       = metric{key: "server_busy", title: "server busy", write: percent}
	ownBusy    = metric{key: "generator_busy", title: "generator busy", write: percent}
	eachKB     = metric{key: "kb_per_connection", title: "kB per connection", less: true, write: small}
	roomKB     = metric{key: "kb_per_more_room", title: "kB per further room", less: true, write: small, optional: true}
	idleCPU    = metric{key: "idle_cpu", title: "CPU while idle", less: true, write: tenths}
	upgrades   = metric{key: "upgrades_per_cpu_second", title: "upgrades per CPU-second", write: count}
	perRedis   = metric{key: "publications_per_redis_cpu_second", title: "publications per CPU-second of Redis", write: count}
	nodesPub   = metric{key: "nodes_us_per_publication", title: "nodes µs", less: true, write: small}
	proxyPub   = metric{key: "haproxy_us_per_publication", title: "HAProxy µs", less: true, write: small}
	redisPub   = metric{key: "redis_us_per_publication", title: "Redis µs", less: true, write: small}
	perSec     = metric{key: "publications_per_second", title: "publications per second", write: count}
	backCPU    = metric{key: "cpu_us_per_return", title: "node CPU µs per join after 256 missed", less: true, write: small}
	historyCPU = metric{key: "cpu_us_per_history", title: "per history of 256", less: true, write: small}
	joinCPU    = metric{key: "cpu_us_per_join", title: "per join that brings nothing", less: true, write: small}
	all        = metric{key: "cpu_us_per_delivery", title: "CPU µs per delivery", less: true, write: small}
	ofNodes    = metric{key: "nodes_us_per_delivery", title: "nodes µs", less: true, write: small}
	ofProxy    = metric{key: "haproxy_us_per_delivery", title: "HAProxy µs", less: true, write: small}
	ofRedis    = metric{key: "redis_us_per_delivery", title: "Redis µs", less: true, write: small, optional: true}
	bridged    = metric{key: "bridged_per_publication", title: "Redis → nodes messages per publication", less: true, write: small}
)

// tenths writes a small share.
func tenths(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) + " %" }

var (
	better  = ratio{ours + " is", ours, times}
	ofFloor = ratio{"share of the floor", titles["floor"], share}
)

// A load is what the generator does.
type load struct {
	rooms, members int
	rate           float64 // messages per second in all; 0: closed loop
}

// args are the generator's flags.
func (l load) args() []string {
	return []string{
		"-rooms", strconv.Itoa(l.rooms), "-members", strconv.Itoa(l.members),
		"-rate", strconv.FormatFloat(l.rate, 'g', -1, 64), "-window", "64", "-bytes", strconv.Itoa(payload),
	}
}

// in is the load in a hurry, when it is one.
func (l load) in(o options) load {
	if o.quick {
		l.rooms, l.members = min(l.rooms, 20), min(l.members, 50)
	}
	return l
}

func allRows() []row {
	return []row{
		roomRow("closed", load{1, 1000, 0}, true, "a room of 1,000, a closed loop: at most 64 messages that not all have heard"),
		roomRow("rate50", load{1, 1000, 50}, false, "a room of 1,000, 50 messages a second: 50,000 deliveries a second"),
		roomRow("rate200", load{1, 1000, 200}, true, "a room of 1,000, 200 messages a second: 200,000 deliveries a second"),
		idleRow(),
		connectRow(),
		publishRow(),
		joinRow(),
		clusterRow("cluster-small", smallRooms, true, "500 rooms of 10, 2,000 messages a second in all, through HAProxy and four nodes: 20,000 deliveries a second"),
		clusterRow("cluster-large", largeRooms, false, "5 rooms of 1,000, 50 messages a second in all, through HAProxy and four nodes: 50,000 deliveries a second"),
		scaleRow(),
	}
}
