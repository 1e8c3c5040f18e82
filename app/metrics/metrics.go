// Package metrics holds every Prometheus collector of a node, so that all
// names stand in one place. It does not know who counts, or who asks.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Set is all collectors of one node, registered in a registry of its own.
// Labels never carry rooms or users: their number has no bound.
type Set struct {
	Registry *prometheus.Registry
	vital    *prometheus.Registry // the few of Figures
	Gateway  Gateway
	Sessions Sessions
	Hub      Hub
	Home     Home
	Hooks    Hooks
	Friends  Friends
	Services Services
}

// Gateway counts sockets.
type Gateway struct {
	Connections prometheus.Gauge
	Streams     prometheus.Gauge
	Tickets     *prometheus.CounterVec // by what became of them
	Refused     *prometheus.CounterVec // by reason
	Closed      *prometheus.CounterVec // by close code
	Panics      prometheus.Counter
	AcceptWaits prometheus.Counter
	Writes      prometheus.Counter
}

// Sessions counts conversations.
type Sessions struct {
	Commands      prometheus.Counter
	Errors        *prometheus.CounterVec // by code
	SlowConsumers prometheus.Counter
	OutboxBytes   prometheus.Gauge
	RateLimited   *prometheus.CounterVec // by the limit
	MarkersMoved  prometheus.Counter
	RoomLists     prometheus.Histogram   // seconds
	Notices       *prometheus.CounterVec // by type
}

// Hub counts rooms and what passes through them.
type Hub struct {
	Rooms        prometheus.Gauge
	RoomsRefused prometheus.Counter
	Warmed       prometheus.Counter
	Members      prometheus.Gauge
	WindowBytes  prometheus.Gauge
	Publications prometheus.Counter // passed by a gate
	Deliveries   prometheus.Counter // publications handed to members
	Dropped      prometheus.Counter // publications that a gate had passed before
	Fills        prometheus.Counter // reads of the log to fill a hole
	Gaps         prometheus.Counter
	Resets       prometheus.Counter
	Healing      prometheus.Gauge
	Restored     prometheus.Counter
	Recovered    *prometheus.CounterVec // joins with a position, by "yes" or "no"
	Append       prometheus.Histogram   // seconds
}

// Home counts rooms that are at home elsewhere.
type Home struct {
	Away prometheus.Gauge
	Led  prometheus.Counter
}

// Hooks counts what the application is asked and told.
type Hooks struct {
	Requests *prometheus.CounterVec   // by hook and outcome
	Duration *prometheus.HistogramVec // seconds, by hook
	Breaker  *prometheus.GaugeVec     // by hook: 0 closed, 1 half open, 2 open
	Webhooks *prometheus.CounterVec   // by outcome
}

// Friends counts what friends are told of each other.
type Friends struct {
	Online      prometheus.Gauge
	Announced   prometheus.Counter
	Unheard     prometheus.Counter
	Deaths      prometheus.Counter
	NoticesLost prometheus.Counter
}

// Services counts what other programs ask over the HTTP API.
type Services struct {
	Requests    *prometheus.CounterVec // by route and status
	RateLimited *prometheus.CounterVec // by the limit
	Messages    *prometheus.CounterVec // by whom they are for
}

// New builds the set for one node.
func New(appid, version string) *Set {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := maker{reg}
	m.gauge("build_info", "Always 1; the labels say what runs.",
		prometheus.Labels{"version": version, "appid": appid}).Set(1)
	s := &Set{
		Registry: reg,
		vital:    prometheus.NewRegistry(),
		Gateway: Gateway{
			Connections: m.gauge("connections", "Sockets and streams that are open.", nil),
			Streams:     m.gauge("streams", "Those of the connections that are streams of server-sent events.", nil),
			Tickets:     m.counters("tickets_total", "Tickets for streams: given, used, used_again (by the same browser, which comes back), refused.", "outcome"),
			Refused:     m.counters("refused_total", "Requests for a socket or a stream that were refused, by the answer's code; of unavailable: descriptors, draining, full, handshakes, hooks, keys, logouts, order, rooms or tickets.", "reason"),
			Closed:      m.counters("closed_total", "Sockets closed, by the node's code (1006: the connection broke; client: the client closed).", "code"),
			Panics:      m.counter("panics_total", "Panics of a socket's reader that were contained."),
			AcceptWaits: m.counter("accept_waits_total", "Times that no connection could be accepted, because descriptors had run out above all."),
			Writes:      m.counter("writes_total", "System calls made to send something to sockets. deliveries_total over this: how many messages go in one."),
		},
		Sessions: Sessions{
			Commands:     m.counter("commands_total", "Commands received."),
			Errors:       m.counters("errors_total", "Commands answered with an error, by code.", "code"),
			RateLimited:  m.counters("rate_limited_total", "Commands refused because of a rate, by the limit: session_messages, session_bytes, user_messages or user_bytes; and sessions closed because of session_frames.", "limit"),
			MarkersMoved: m.counter("markers_moved_total", "Read markers that users have moved."),
			RoomLists: m.histogram("room_list_duration_seconds", "How long the store took to say what somebody's rooms have that is unread.",
				prometheus.ExponentialBuckets(0.0001, 2, 16)),
			Notices:       m.counters("notices_total", "Messages put into inboxes because of what was said in a room, by type: direct or mention. Retries count.", "type"),
			SlowConsumers: m.counter("slow_consumers_total", "Sessions closed because too much waited for them."),
			OutboxBytes:   m.gauge("outbox_bytes", "Bytes that wait for readers, of all sessions together.", nil),
		},
		Hub: Hub{
			Rooms:        m.gauge("rooms", "Rooms that this node serves, and those in which nodes are among themselves; the live ring leaves these out.", nil),
			RoomsRefused: m.counter("rooms_refused_total", "Joins refused because the node has room.max rooms open, with somebody in each."),
			Warmed:       m.counter("rooms_warmed_total", "Rooms opened before anybody came, because another node was about to send their members here."),
			Members:      m.gauge("members", "Sessions in rooms, and the node itself in those of the nodes; the live ring leaves it out.", nil),
			WindowBytes:  m.gauge("window_bytes", "Bytes of publications kept in memory.", nil),
			Publications: m.counter("publications_total", "Publications passed on to members."),
			Deliveries:   m.counter("deliveries_total", "Publications handed to a member."),
			Dropped:      m.counter("duplicates_dropped_total", "Publications heard again and dropped."),
			Fills:        m.counter("fills_total", "Reads of the log to fill a hole."),
			Gaps:         m.counter("gaps_total", "Holes that could not be filled, and were declared."),
			Resets:       m.counter("resets_total", "New epochs that members were told of."),
			Healing:      m.gauge("healing", "Logs that have lost their tail, and are being healed now.", nil),
			Restored:     m.counter("restored_total", "Publications that a log had lost and this node saw to."),
			Recovered:    m.counters("recover_total", "Joins with a position, by whether nothing was missing.", "recovered"),
			Append: m.histogram("append_duration_seconds", "From a publish command to its position.",
				prometheus.ExponentialBuckets(0.0001, 2, 16)),
		},
		Home: Home{
			Away: m.gauge("rooms_away", "Rooms with sockets here whose home is another node, when HAProxy was last asked for all of them.", nil),
			Led:  m.counter("led_home_total", "Sockets that were sent to the home of their room."),
		},
		Hooks: Hooks{
			Requests: m.counters("hook_requests_total", "Questions to the application, by hook (connect, join, publish) and outcome: allowed, denied, timeout, failed, bad_answer, busy (no turn in time), breaker_open, given_up (the client left, or its command took too long).", "hook", "outcome"),
			Duration: m.histograms("hook_duration_seconds", "From a question that is sent, or a webhook, to its answer or failure.",
				prometheus.ExponentialBuckets(0.001, 2, 14), "hook"),
			Breaker:  m.gauges("hook_breaker", "The breaker of a hook: 0 closed, 1 half open (one question finds out), 2 open (nothing is asked).", "hook"),
			Webhooks: m.counters("webhook_requests_total", "Events sent to the application, by outcome: delivered; refused (another answer, about this event: it comes again); away (no answer, 429, 502, 503 or 504: everything waits).", "outcome"),
		},
		Friends: Friends{
			Online:      m.gauge("friends_online", "Users of whom this node hears the inbox.", nil),
			Announced:   m.counter("friends_announced_total", "Inboxes that were told of a friend's status; one message each to those who are there, nothing to others."),
			Unheard:     m.counter("friends_unheard_total", "Changes of a user's status that were told to nobody, because no friend was there."),
			Deaths:      m.counter("friends_deaths_total", "Dead nodes whose users this node has looked after, alone or with others."),
			NoticesLost: m.counter("friends_notices_lost_total", "Requests and acceptances of which the other's inbox was not told, because the log did not answer or too many waited. The lists have them all the same."),
		},
		Services: Services{
			Requests:    m.counters("api_requests_total", "Requests of services, by route (other: of no route) and by the answer's status.", "route", "status"),
			RateLimited: m.counters("api_rate_limited_total", "Requests of services that were refused because of a limit: requests, messages, announcements or in_flight.", "limit"),
			Messages:    m.counters("api_messages_total", "Messages that services have sent: to a room, to a user, or to everybody.", "to"),
		},
	}
	s.vital.MustRegister(s.Gateway.Connections, s.Gateway.Streams, s.Sessions.OutboxBytes, s.Hub.Rooms, s.Hub.Members,
		s.Hub.Publications, s.Hub.Deliveries, s.Hub.Append, s.Home.Away)
	return s
}

// Broker is what a broker on Redis has counted, and how long its queue is.
type Broker struct {
	Appends    uint64
	Duplicates uint64
	Refused    uint64
	Batches    uint64
	Retries    uint64
	Unkept     uint64

	Bridged       uint64
	Heard         uint64
	Malformed     uint64
	Unreadable    uint64
	Interruptions uint64
	ProbeTimeouts uint64
	Probes        uint64

	Queued      int
	QueuedBytes int
	Rooms       int
	Connected   bool
}

// WatchBroker registers what read returns; it is called at each scrape.
func (s *Set) WatchBroker(read func() Broker) {
	m := maker{s.Registry}
	counter := func(name, help string, value func(Broker) uint64) {
		m.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value(read())) }))
	}
	gauge := func(name, help string, value func(Broker) int) {
		m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value(read())) }))
	}
	counter("appends_total", "Drafts that got a position.", func(b Broker) uint64 { return b.Appends })
	counter("append_duplicates_total", "Drafts that had a position already: retries under the same key.", func(b Broker) uint64 { return b.Duplicates })
	counter("append_retries_total", "Calls sent to Redis again because their answer was lost.", func(b Broker) uint64 { return b.Retries })
	counter("append_unkept_total", "Drafts that have a position and were answered with unavailable, because redis.ack or redis.replicas was not met in time.", func(b Broker) uint64 { return b.Unkept })
	counter("append_batches_total", "Round trips to Redis that carried appends and signals.", func(b Broker) uint64 { return b.Batches })
	counter("append_refused_total", "Calls refused because too much waited for Redis.", func(b Broker) uint64 { return b.Refused })
	gauge("append_queue", "Calls that wait for Redis.", func(b Broker) int { return b.Queued })
	gauge("append_queue_bytes", "Bytes that wait for Redis.", func(b Broker) int { return b.QueuedBytes })
	counter("log_unreadable_total", "Entries of a log that are none of ours, and were skipped.", func(b Broker) uint64 { return b.Unreadable })
	counter("bridge_published_total", "Publications, signals and questions that other nodes were told. Rooms that live on this node alone add nothing.", func(b Broker) uint64 { return b.Bridged })
	counter("bridge_heard_total", "Bridge messages that came in.", func(b Broker) uint64 { return b.Heard })
	counter("bridge_malformed_total", "Bridge messages that could not be read.", func(b Broker) uint64 { return b.Malformed })
	counter("bridge_interruptions_total", "Times that the bridge broke after it had worked.", func(b Broker) uint64 { return b.Interruptions })
	counter("bridge_probes_total", "Probes that Redis took.", func(b Broker) uint64 { return b.Probes })
	counter("bridge_probe_timeouts_total", "Interruptions found by a probe that did not come back.", func(b Broker) uint64 { return b.ProbeTimeouts })
	gauge("bridge_rooms", "Rooms that the bridge is subscribed to, or about to be.", func(b Broker) int { return b.Rooms })
	gauge("bridge_connected", "1 while the bridge hears every room, else 0.", func(b Broker) int {
		if b.Connected {
			return 1
		}
		return 0
	})
}

// Queue is what a node has counted of a queue in Redis, and what it knows of it.
type Queue struct {
	Handled, Retried, TakenOver, SetAside uint64
	Waiting, Pending                      int
	Reading                               bool
}

// WatchQueue registers what read returns of a queue; it is called at each scrape.
func (s *Set) WatchQueue(name string, read func() Queue) {
	labels := prometheus.Labels{"queue": name}
	counter := func(name, help string, value func(Queue) uint64) {
		s.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(read())) }))
	}
	gauge := func(name, help string, value func(Queue) int) {
		s.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(read())) }))
	}
	counter("queue_handled_total", "Entries of a queue in Redis that were handled.", func(q Queue) uint64 { return q.Handled })
	counter("queue_retried_total", "Tries to handle an entry that failed, an outage among the reasons.", func(q Queue) uint64 { return q.Retried })
	counter("queue_taken_over_total", "Entries that another node had and did not settle.", func(q Queue) uint64 { return q.TakenOver })
	counter("queue_set_aside_total", "Entries that can never be handled, and were moved to the queue's :dead stream.", func(q Queue) uint64 { return q.SetAside })
	gauge("queue_waiting", "Entries that no node has taken yet, when this node last asked: every node says about the same.", func(q Queue) int { return q.Waiting })
	gauge("queue_pending", "Entries that a node has taken and not settled, when this node last asked.", func(q Queue) int { return q.Pending })
	gauge("queue_reading", "1 while this node is the one that reads the queue.", func(q Queue) int {
		if q.Reading {
			return 1
		}
		return 0
	})
}

type maker struct{ reg *prometheus.Registry }

const namespace = "chatring"

func (m maker) gauge(name, help string, labels prometheus.Labels) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels})
	m.reg.MustRegister(g)
	return g
}

func (m maker) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.reg.MustRegister(c)
	return c
}

func (m maker) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.reg.MustRegister(g)
	return g
}

func (m maker) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.reg.MustRegister(c)
	return c
}

func (m maker) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	m.reg.MustRegister(h)
	return h
}

func (m maker) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	m.reg.MustRegister(h)
	return h
}
