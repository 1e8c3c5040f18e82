// Package config is every knob of a node: its name, its default, its check and
// the words that explain it. Viper lives here and nowhere else.
package config

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Config is what a node runs with.
type Config struct {
	APPID   string   `mapstructure:"appid"`
	Env     string   `mapstructure:"env"`
	Listen  string   `mapstructure:"listen"`
	Broker  string   `mapstructure:"broker"`
	Modules []string `mapstructure:"modules"`
	Ops     struct {
		Listen string `mapstructure:"listen"`
	} `mapstructure:"ops"`
	Redis struct {
		URL          string        `mapstructure:"url"`
		User         string        `mapstructure:"user"`
		PasswordFile string        `mapstructure:"password_file"`
		Ack          string        `mapstructure:"ack"`
		Replicas     int           `mapstructure:"replicas"`
		AckTimeout   time.Duration `mapstructure:"ack_timeout"`
	} `mapstructure:"redis"`
	Auth struct {
		Mode       string        `mapstructure:"mode"`
		SecretFile string        `mapstructure:"secret_file"`
		KeyFile    string        `mapstructure:"key_file"`
		JWKSURL    string        `mapstructure:"jwks_url"`
		Algorithms []string      `mapstructure:"algorithms"`
		Issuer     string        `mapstructure:"issuer"`
		Audience   string        `mapstructure:"audience"`
		Leeway     time.Duration `mapstructure:"leeway"`
		MaxLife    time.Duration `mapstructure:"max_life"`
		OpenRooms  []string      `mapstructure:"open_rooms"`
	} `mapstructure:"auth"`
	Log struct {
		Level  string `mapstructure:"level"`
		Format string `mapstructure:"format"`
	} `mapstructure:"log"`
	Gateway struct {
		MaxConnections int64         `mapstructure:"max_connections"`
		SocketsPerUser int           `mapstructure:"sockets_per_user"`
		Handshakes     int           `mapstructure:"handshakes"`
		HandshakeBurst int           `mapstructure:"handshake_burst"`
		MaxMessage     int           `mapstructure:"max_message"`
		ReadBuffer     int           `mapstructure:"read_buffer"`
		Ping           time.Duration `mapstructure:"ping"`
		PongTimeout    time.Duration `mapstructure:"pong_timeout"`
		WriteTimeout   time.Duration `mapstructure:"write_timeout"`
		Origins        []string      `mapstructure:"origins"`
	} `mapstructure:"gateway"`
	Session struct {
		Outbox         int           `mapstructure:"outbox"`
		Rooms          int           `mapstructure:"rooms"`
		CommandTimeout time.Duration `mapstructure:"command_timeout"`
		Messages       int           `mapstructure:"messages"`
		Bytes          int           `mapstructure:"bytes"`
		Frames         int           `mapstructure:"frames"`
		Burst          time.Duration `mapstructure:"burst"`
		SignalEvery    time.Duration `mapstructure:"signal_every"`
	} `mapstructure:"session"`
	User struct {
		Messages int `mapstructure:"messages"`
		Bytes    int `mapstructure:"bytes"`
		Rooms    int `mapstructure:"rooms"`
		RoomList int `mapstructure:"room_list"`
	} `mapstructure:"user"`
	Service struct {
		Requests int           `mapstructure:"requests"`
		Messages int           `mapstructure:"messages"`
		Burst    time.Duration `mapstructure:"burst"`
		InFlight int           `mapstructure:"in_flight"`
	} `mapstructure:"service"`
	Room struct {
		Max          int           `mapstructure:"max"`
		Window       int           `mapstructure:"window"`
		WindowBudget int64         `mapstructure:"window_budget"`
		Linger       time.Duration `mapstructure:"linger"`
		OpenTimeout  time.Duration `mapstructure:"open_timeout"`
		FillGrace    time.Duration `mapstructure:"fill_grace"`
		Rest         time.Duration `mapstructure:"rest"`
		Gather       time.Duration `mapstructure:"gather"`
	} `mapstructure:"room"`
	Friends struct {
		Max     int           `mapstructure:"max"`
		Pending int           `mapstructure:"pending"`
		Grace   time.Duration `mapstructure:"grace"`
	} `mapstructure:"friends"`
	Direct struct {
		From string `mapstructure:"from"`
	} `mapstructure:"direct"`
	Retention struct {
		Messages  int64         `mapstructure:"messages"`
		Age       time.Duration `mapstructure:"age"`
		KeyWindow time.Duration `mapstructure:"key_window"`
	} `mapstructure:"retention"`
	Drain struct {
		Notice time.Duration `mapstructure:"notice"`
		Rate   int           `mapstructure:"rate"`
		Grace  time.Duration `mapstructure:"grace"`
	} `mapstructure:"drain"`
	Home struct {
		URL  string `mapstructure:"url"`
		Rate int    `mapstructure:"rate"`
	} `mapstructure:"home"`
	Ring struct {
		Nodes   []string `mapstructure:"nodes"`
		HAProxy string   `mapstructure:"haproxy"`
	} `mapstructure:"ring"`
	Hooks struct {
		ConnectURL  string        `mapstructure:"connect_url"`
		JoinURL     string        `mapstructure:"join_url"`
		PublishURL  string        `mapstructure:"publish_url"`
		Timeout     time.Duration `mapstructure:"timeout"`
		Concurrency int           `mapstructure:"concurrency"`
		OnFailure   string        `mapstructure:"on_failure"`
		WebhookURL  string        `mapstructure:"webhook_url"`
		Events      []string      `mapstructure:"events"`
		Rooms       []string      `mapstructure:"rooms"`
		Backlog     int           `mapstructure:"backlog"`
		SecretFile  string        `mapstructure:"secret_file"`
	} `mapstructure:"hooks"`
	Ingress struct {
		Enabled    bool          `mapstructure:"enabled"`
		Batch      int           `mapstructure:"batch"`
		ClaimAfter time.Duration `mapstructure:"claim_after"`
		Attempts   int           `mapstructure:"attempts"`
	} `mapstructure:"ingress"`
}

// A Knob is one setting. Its environment variable is CHATRING_ and its key in
// capitals, with underscores for dots; its flag is the key with dashes.
type Knob struct {
	Key     string
	Default any // string, bool, int, int64, time.Duration or []string
	Min     any // an int for a number, a time.Duration for a time; nil for words
	Help    string
}

// Knobs is every setting, in the order in which they are explained.
var Knobs = []Knob{
	{"appid", "1111", nil, "Name of this node on the ring: digits, below 1048576, never used again for another node. APPID works too."},
	{"env", "development", nil, `"production" refuses settings that are for development only.`},
	{"listen", "127.0.0.1:8080", nil, "Address of the serving port. In a container, or behind HAProxy on another machine, :8080."},
	{"ops.listen", "127.0.0.1:9090", nil, "Address of the operators' port: /livez /readyz /metrics /debug/pprof/, the live ring at /ring, and logging users out. Never publish it. Empty: none."},
	{"broker", "memory", nil, `"memory": one process, nothing kept. "redis": a cluster.`},
	{"modules", []string{"chat", "friends", "api"}, nil, "What this node serves: chat (rooms), friends (the friend list), api (services). The same image serves one or several; HAProxy sends each address to nodes that serve it."},
	{"redis.url", "redis://127.0.0.1:6379/0", nil, "Where the log is. redis:// or rediss://, with user and password if need be."},
	{"redis.user", "chatring", nil, "User of Redis whose password is in redis.password_file."},
	{"redis.password_file", "", nil, "File with the password of redis.user, read at each connection. Empty, or with a user or password in redis.url: not used."},
	{"redis.ack", "redis", nil, `What an acknowledged message waits for. "redis": Redis' answer. "fsync": that Redis has it on disk, whatever its appendfsync (Redis 7.2 or later).`},
	{"redis.replicas", 0, 0, "How many replicas of Redis must have a message before it is acknowledged. Raise it where a failover must lose nothing."},
	{"redis.ack_timeout", 2 * time.Second, time.Millisecond, "How long redis.ack and redis.replicas may take before a message is answered with unavailable. Keep it below session.command_timeout."},
	{"auth.mode", "", nil, `"jwt": tokens. "dev": everybody is who they say they are. Empty: jwt when auth.secret_file, auth.key_file or auth.jwks_url is set, dev for a memory broker on loopback, else an error.`},
	{"auth.secret_file", "", nil, "File with the secrets of the tokens (HS256), 32 bytes or more each, one a line: all verify. Read again when it changes."},
	{"auth.key_file", "", nil, "File with the public keys of the tokens (RS256, ES256, EdDSA): PEM, or a JWKS. Read again when it changes."},
	{"auth.jwks_url", "", nil, "Where the issuer publishes its keys, as a JWKS. Fetched every five minutes, and for an unknown key at most once a minute."},
	{"auth.algorithms", []string{"HS256", "RS256", "ES256", "EdDSA"}, nil, "What tokens may be signed by. The type of a key says which of them it is for."},
	{"auth.issuer", "", nil, `What a token's "iss" must be. Needed in production. Empty: not looked at.`},
	{"auth.audience", "", nil, `What a token's "aud" must be or contain: the name of this cluster at the issuer. Needed in production. Empty: not looked at.`},
	{"auth.leeway", 30 * time.Second, time.Duration(0), "How far the clocks of the issuer and of this node may differ."},
	{"auth.max_life", 7 * 24 * time.Hour, time.Second, "Longest time from a token's iat (without one, from now) to its exp. Log-outs are remembered for retention.age, which must be at least as long."},
	{"auth.open_rooms", []string{"*"}, nil, "Rooms that a token without grants may write, as patterns: names in which * stands for any characters. Empty: none."},
	{"log.level", "info", nil, "debug, info, warn or error."},
	{"log.format", "json", nil, "json or text."},
	{"gateway.max_connections", int64(15000), 1, "Sockets of this node; more are refused with 503. Each takes a file descriptor: keep it below ulimit -n."},
	{"gateway.sockets_per_user", 50, 0, "Sockets that one user may have on this node; more are refused with 429. Each node counts for itself. 0: no limit."},
	{"gateway.handshakes", 2000, 0, "Requests for a socket or a stream that this node looks at each second, over time; more are refused with 503, and HAProxy asks the next node. Beside them, it looks at as many tokens that come with commands by POST, or for tickets. 0: no limit."},
	{"gateway.handshake_burst", 4000, 1, "How many requests for a socket may come at the same moment. Raise it and gateway.handshakes when many come back at once and processors are idle."},
	{"gateway.max_message", 16384, 1, "Longest message of a client, in bytes. A socket may make the node hold this much."},
	{"gateway.read_buffer", 256, 1, "Read buffer of each socket, in bytes. A longer command takes one more system call: raise it when most are longer."},
	{"gateway.ping", 25 * time.Second, time.Second, "How often each socket is pinged. Keep it well below HAProxy's timeout tunnel."},
	{"gateway.pong_timeout", 10 * time.Second, time.Millisecond, "How long a socket may stay silent after a ping was due. Raise it for bad mobile networks."},
	{"gateway.write_timeout", 10 * time.Second, time.Millisecond, "How long a socket's peer may take nothing of what is written before it is closed as a slow consumer. Whatever it takes begins the time anew."},
	{"gateway.origins", []string{}, nil, "Pages that may connect beside those of the own host, such as https://chat.example.com."},
	{"session.outbox", 256 << 10, 1, "Bytes that may wait for one reader. Raise it for bursty rooms; a full outbox closes the session, which recovers by position."},
	{"session.rooms", 128, 1, "Rooms that one session may join."},
	{"session.command_timeout", 4 * time.Second, time.Millisecond, "How long a command may take before it is answered with unavailable; the session's next commands wait as long. A client that leaves its answers unread for as long is closed."},
	{"session.messages", 50, 0, "Commands that one session may give each second, over time; more are answered with rate_limited, and when to try again. 0: no limit."},
	{"session.bytes", 32 << 10, 0, "Bytes of commands that one session may send each second, over time, limited like session.messages. 0: no limit."},
	{"session.frames", 500, 0, "Frames that one session may send each second, refused commands and what is no command among them; more close it with 4429. Keep it well above session.messages. 0: no limit."},
	{"session.burst", 5 * time.Second, time.Second, "How long what a session or a user did not send adds up: so many seconds' worth of each rate may come at once."},
	{"session.signal_every", 250 * time.Millisecond, time.Duration(0), "How often a session may signal in a room; of the signals in between the last one goes when the time is up. 0: each goes at once."},
	{"user.messages", 100, 0, "Commands that all sessions of a user on this node may give together each second, over time. 0: no limit."},
	{"user.bytes", 64 << 10, 0, "Bytes of commands that all sessions of a user on this node may send together each second, over time. 0: no limit."},
	{"user.rooms", 512, 0, "Rooms that all sessions of a user on this node may be in, counted for each session: so a few users cannot take all of room.max. 0: no limit."},
	{"user.room_list", 500, 1, "Rooms that a user may keep on their list, with how far they have read in each; more are refused. One page of the list looks at all of them."},
	{"service.requests", 500, 0, "Requests that one service may make of this node's HTTP API each second, over time; more are answered with 429, and when to try again. 0: no limit."},
	{"service.messages", 5000, 0, "Messages that one service may send over this node each second, over time, each user of a notification counted. 0: no limit."},
	{"service.burst", 5 * time.Second, time.Second, "How long what a service did not ask for adds up: so many seconds' worth of each rate may come at once."},
	{"service.in_flight", 64, 1, "Requests of services that this node works on at once, half of them of one service at the most; more are answered with 503. Each may take a few MiB. Lower it to leave sockets more of the processor."},
	{"room.max", 50000, 3, "Rooms that this node has open at once, the nodes' own among them. Beyond it the room that is empty longest is closed; when somebody is in each, joins of others are refused. An empty room takes about 1 kB."},
	{"room.window", 256, 1, "Messages of each room kept in memory. Raise it when many come back after long absences."},
	{"room.window_budget", int64(256 << 20), 1, "Bytes that all windows of the node may take together; beyond it the least used shrink."},
	{"room.linger", 30 * time.Second, time.Millisecond, "How long an empty room stays in memory, for those who come back."},
	{"room.open_timeout", 3 * time.Second, time.Millisecond, "How long opening a room, or one read of the log, may take."},
	{"room.fill_grace", 10 * time.Millisecond, time.Duration(0), "How long a hole may wait for the message that fills it before the log is read."},
	{"room.rest", 15 * time.Microsecond, time.Duration(0), "How long a room rests for each member after it has told them something: what is said meanwhile goes to each in one piece. Raise it, and room.gather, to spend less of the processors on large rooms; rooms in which less is said do not notice. 0: rooms never rest."},
	{"room.gather", 20 * time.Millisecond, time.Duration(0), "The longest rest of a room: how long a message may wait in a loud, large one."},
	{"friends.max", 500, 1, "Friends and requests made that one user may have, together, and users that one may block. A list is one answer, which must fit into session.outbox: 1000 at the most."},
	{"friends.pending", 200, 1, "Requests that one user may have made and nobody has answered, and requests to one user that wait: further ones are not shown to it. 1000 at the most."},
	{"friends.grace", 500 * time.Millisecond, time.Duration(0), "How long somebody may be gone before friends are told, so that they do not notice when a page is loaded anew."},
	{"direct.from", "friends", nil, `Who may write to a user's direct rooms. "friends": only friends. "anyone": all but those whom the user has blocked.`},
	{"retention.messages", int64(10000), 1, "Messages that a room's log keeps, at least; the oldest go. Keep it above room.window."},
	{"retention.age", 7 * 24 * time.Hour, time.Millisecond, "How long a log is kept after its last message."},
	{"retention.key_window", 5 * time.Minute, time.Millisecond, "How long a message sent again under the same key is recognised, at least."},
	{"drain.notice", 2500 * time.Millisecond, time.Duration(0), "How long a node that stops goes on serving while HAProxy takes it off the ring. Keep it above HAProxy's check interval."},
	{"drain.rate", 500, 1, "Members that a node that stops sends away each second: what the other nodes can take. Nodes that stop at once add up."},
	{"drain.grace", 30 * time.Second, time.Duration(0), "How long whatever supervises the node waits before it kills: docker's stop_grace_period, systemd's TimeoutStopSec. The node ends within it; members for whom there is no time at drain.rate leave sooner and are told to come back later."},
	{"home.url", "", nil, "Where HAProxy listens for nodes (BIND_NODES), such as http://127.0.0.1:8406. There a node asks where rooms are at home: it has them opened there before it stops, and leads members home who sit elsewhere. Empty: neither."},
	{"home.rate", 50, 1, "Members that a node leads home each second. Raise it when rooms stay split for too long after a node is back."},
	{"ring.nodes", []string{}, nil, "Operators' addresses of all nodes of the ring, this one's among them, such as http://10.0.0.1:9090,http://10.0.0.2:9090: whom the live ring asks. Empty: it shows this node alone."},
	{"ring.haproxy", "", nil, "Operators' address of HAProxy (BIND_ADMIN), such as http://127.0.0.1:8404: there the live ring asks who is on the ring. Empty: it is not asked."},
	{"hooks.connect_url", "", nil, "Address of the application that is asked, after the token, before a socket is opened. Empty: not asked."},
	{"hooks.join_url", "", nil, "Address of the application that is asked before somebody joins a room. Empty: not asked."},
	{"hooks.publish_url", "", nil, "Address of the application that is asked before a message is published, and may rewrite it. Empty: not asked."},
	{"hooks.timeout", time.Second, time.Millisecond, "How long one question to the application may take, the wait for its turn included. Keep it below session.command_timeout."},
	{"hooks.concurrency", 64, 1, "Questions of each kind that may be under way at once. Raise it when chatring_hook_requests_total{outcome=\"busy\"} grows and the application has time."},
	{"hooks.on_failure", "deny", nil, `What it means when the application gives no answer. "deny": unavailable, to be tried again. "allow": the token's word is enough.`},
	{"hooks.webhook_url", "", nil, "Address of the application that is told what has happened. Empty: nothing is told."},
	{"hooks.events", []string{}, nil, "What is told: room_occupied, room_vacated, user_online, user_offline, message_published. Empty: nothing."},
	{"hooks.rooms", []string{"*"}, nil, "Rooms whose messages are told (message_published), as patterns: names in which * stands for any characters. Inboxes never are."},
	{"hooks.backlog", 100000, 1, "Events that may wait in Redis for an application that does not take them; beyond it the oldest are lost. Each takes as much memory as its message."},
	{"hooks.secret_file", "", nil, "File with the secrets that sign every request to the application, whsec_ and 24 to 64 bytes in base64 each, one a line: all sign. Needed with any hook. Read again when it changes."},
	{"ingress.enabled", true, nil, "Whether this node may be the one that reads chatring:ingress, the stream into which backends write. With the memory broker there is none."},
	{"ingress.batch", 128, 1, "Entries of chatring:ingress that are under way at once. Raise it when chatring_queue_waiting stays high and processors are idle."},
	{"ingress.claim_after", 5 * time.Second, 500 * time.Millisecond, "How long a node that reads chatring:ingress may give no sign of life before another takes its place and its entries. An append has half as long."},
	{"ingress.attempts", 5, 1, "After how many failures an entry is set aside in chatring:ingress:dead; the death of the node that has it is one, an outage of Redis is none."},
}

const prefix = "CHATRING"

// Env returns the knob's environment variable.
func (k Knob) Env() string {
	return prefix + "_" + strings.ToUpper(strings.ReplaceAll(k.Key, ".", "_"))
}

// setBy returns the variable of the environment that sets the knob, if any. One
// that is there but empty sets only what may be empty: scripts and Compose
// files pass on what nobody has set.
func (k Knob) setBy() string {
	names := []string{k.Env()}
	if k.Key == "appid" {
		names = append(names, "APPID")
	}
	for _, name := range names {
		if value, ok := os.LookupEnv(name); value != "" || ok && k.mayBeEmpty() {
			return name
		}
	}
	return ""
}

// mayBeEmpty says that an empty variable sets the knob: it turns something off.
func (k Knob) mayBeEmpty() bool { return k.Key == "ops.listen" || k.Key == "auth.open_rooms" }

// Flag returns the knob's flag, without the dashes before it.
func (k Knob) Flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.Key)
}

// AddFlags adds a flag for every knob.
func AddFlags(fs *pflag.FlagSet) {
	for _, k := range Knobs {
		switch d := k.Default.(type) {
		case string:
			fs.String(k.Flag(), d, k.Help)
		case bool:
			fs.Bool(k.Flag(), d, k.Help)
		case int:
			fs.Int(k.Flag(), d, k.Help)
		case int64:
			fs.Int64(k.Flag(), d, k.Help)
		case time.Duration:
			fs.Duration(k.Flag(), d, k.Help)
		case []string:
			fs.StringSlice(k.Flag(), d, k.Help)
		default:
			panic(fmt.Sprintf("config: knob %s has a default of type %T", k.Key, d))
		}
	}
}

// Load reads the configuration: a flag beats the environment, which beats the
// file (none when its path is empty), which beats the default. Unknown keys of
// the file are an error.
func Load(fs *pflag.FlagSet, file string) (Config, error) {
	v, err := read(fs, file)
	if err != nil {
		return Config{}, err
	}
	var f faults
	for _, key := range v.AllKeys() {
		if !slices.ContainsFunc(Knobs, func(k Knob) bool { return k.Key == key }) {
			f.add(key, "there is no such setting")
		}
	}
	for _, k := range Knobs {
		k.check(&f, fmt.Sprint(v.Get(k.Key)))
	}
	var c Config
	if err := v.UnmarshalExact(&c); err != nil {
		return Config{}, cmp.Or(f.err(), fmt.Errorf("configuration: %w", err))
	}
	for _, list := range [][]string{c.Gateway.Origins, c.Auth.Algorithms, c.Auth.OpenRooms, c.Hooks.Events, c.Hooks.Rooms, c.Ring.Nodes} {
		for i, entry := range list {
			list[i] = strings.TrimSpace(entry)
		}
	}
	if c.Auth.Mode == "" {
		c.Auth.Mode = c.modeUnsaid()
	}
	c.check(&f)
	return c, f.err()
}

// modeUnsaid is the auth.mode of who says none; empty: it must be said.
func (c *Config) modeUnsaid() string {
	if c.hasKeys() {
		return "jwt"
	}
	if c.Broker == "memory" && isLoopback(c.Listen) {
		return "dev"
	}
	return ""
}

// hasKeys says whether any key of tokens is given.
func (c *Config) hasKeys() bool {
	return c.Auth.SecretFile != "" || c.Auth.KeyFile != "" || c.Auth.JWKSURL != ""
}

// Values returns what each of Knobs is set to, for people to read; passwords
// are left out.
func Values(fs *pflag.FlagSet, file string) ([]string, error) {
	v, err := read(fs, file)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(Knobs))
	for i, k := range Knobs {
		values[i] = v.GetString(k.Key)
		switch k.Default.(type) {
		case time.Duration:
			values[i] = v.GetDuration(k.Key).String()
		case []string:
			values[i] = strings.Join(v.GetStringSlice(k.Key), ",")
		}
		if strings.HasSuffix(k.Key, "url") {
			values[i] = withoutPassword(values[i])
		}
	}
	return values, nil
}

func withoutPassword(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}

func read(fs *pflag.FlagSet, file string) (*viper.Viper, error) {
	v := viper.New()
	v.AllowEmptyEnv(true)
	for _, k := range Knobs {
		v.SetDefault(k.Key, k.Default)
		if name := k.setBy(); name != "" {
			if err := v.BindEnv(k.Key, name); err != nil {
				return nil, fmt.Errorf("knob %s: %w", k.Key, err)
			}
		}
		if f := fs.Lookup(k.Flag()); f != nil {
			if err := v.BindPFlag(k.Key, f); err != nil {
				return nil, fmt.Errorf("knob %s: %w", k.Key, err)
			}
		}
	}
	if file != "" {
		v.SetConfigFile(file)
		if err := v.ReadInConfig(); err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
	}
	return v, nil
}

// notOurs are variables of the scripts and of the Compose file, which nodes may
// inherit.
var notOurs = []string{
	"CHATRING_BIN", "CHATRING_PORT", "CHATRING_STATE", "CHATRING_STOP_GRACE",
	"CHATRING_IMAGE", "CHATRING_PULL", "CHATRING_USER", "CHATRING_VERSION",
}

// UnknownEnv returns the variables that look like knobs and are none, without
// those of the scripts and of the Compose file.
func UnknownEnv() []string {
	known := slices.Clone(notOurs)
	for _, k := range Knobs {
		known = append(known, k.Env())
	}
	var unknown []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, prefix+"_") && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}
