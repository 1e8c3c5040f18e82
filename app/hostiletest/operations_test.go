package hostiletest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

var operations = []hostile{
	{
		id: "O01", sent: "requests for `/metrics`, `/debug/pprof/`, `/admin`, `/stats`, `/livez`, `/readyz`, a log-out at the public port; connections to the operators' ports from another address",
		answer: "404; refused", run: operatorsOnly,
	},
	{
		id: "O02", sent: "`FLUSHALL`, and a connection without password, from another container", answer: "refused by Redis", elsewhere: "`TestCluster`, `scripts/test-compose`",
	},
	{
		id: "O03", sent: "a node told to start with dev mode in production, no key, a short key, a key that is not there, an unknown setting in its file", answer: "it ends with exit code 2 and one line for each fault. An unknown variable of the environment is a warning that names it",
		run: badSettings,
	},
	{
		id: "O04", sent: "hundreds of rooms and sockets that all hash to one node", answer: "that node answers `unavailable` with a hint, and 503 with `Retry-After`, upon which HAProxy asks another; the others do not notice", elsewhere: "`TestAdmission`",
	},
	{
		id: "O05", sent: "a container that writes to `/`, gains privileges, looks at others' processes", answer: "it cannot", elsewhere: "`scripts/test-compose`",
	},
}

func operatorsOnly(s *scene) {
	none, bare := answer{404, "not_found"}, answer{status: 404}
	for path, front := range map[string]answer{
		"/metrics": none, "/debug/pprof/": none, "/debug/vars": none, "/livez": none, "/readyz": none, "/internal/x": none, "/admin": bare, "/admin/x": bare, "/stats": bare, "/stats;csv": bare,
	} {
		request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, Host)
		s.refuses(s.cluster.Front(), path, request, front)
		s.refuses(s.cluster.Node(1), path, request, bare)
	}
	logout := "POST /users/listener/logout HTTP/1.1\r\nHost: " + Host + "\r\nContent-Length: 0\r\n\r\n"
	s.refuses(s.cluster.Front(), "log-out", logout, bare)
	s.refuses(s.cluster.Node(1), "log-out", logout, bare)
	for _, address := range []string{s.cluster.Ops(1), s.cluster.HAProxyOps(), s.cluster.RedisAddress()} {
		_, port, _ := net.SplitHostPort(address)
		if conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.2", port)); err == nil {
			_ = conn.Close()
			s.Errorf("port %s is open on other addresses than 127.0.0.1", port)
		}
	}
}

func badSettings(s *scene) {
	dir := s.TempDir()
	short, unknown := filepath.Join(dir, "short"), filepath.Join(dir, "unknown.yaml")
	for file, text := range map[string]string{short: "changeme", unknown: "gateway:\n  pnig: 1s\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			s.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		env  []string
		args []string
		says string
	}{
		"dev in production":     {[]string{"CHATRING_ENV=production", "CHATRING_AUTH_MODE=dev", "CHATRING_BROKER=redis"}, nil, "auth.mode: "},
		"no broker":             {[]string{"CHATRING_ENV=production", "CHATRING_AUTH_MODE=jwt", "CHATRING_AUTH_SECRET_FILE=" + short, "CHATRING_AUTH_ISSUER=i", "CHATRING_AUTH_AUDIENCE=a"}, nil, "broker: "},
		"no key":                {[]string{"CHATRING_AUTH_MODE=jwt"}, nil, "auth"},
		"a short key":           {[]string{"CHATRING_AUTH_MODE=jwt", "CHATRING_AUTH_SECRET_FILE=" + short}, nil, "at least 32"},
		"a key that is nowhere": {[]string{"CHATRING_AUTH_MODE=jwt", "CHATRING_AUTH_SECRET_FILE=" + filepath.Join(dir, "none")}, nil, "no such file"},
		"open without a mode":   {[]string{"CHATRING_LISTEN=:0"}, nil, "auth.mode: "},
		"an unknown setting":    {nil, []string{"--config", unknown}, "gateway.pnig: "},
		"an unknown flag":       {nil, []string{"--pnig", "1s"}, "--pnig"},
	} {
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		cmd := exec.CommandContext(ctx, nodeBinary, append([]string{"serve"}, c.args...)...)
		cmd.Env = c.env
		out, err := cmd.CombinedOutput()
		cancel()
		if code := cmd.ProcessState.ExitCode(); err == nil || code != 2 {
			s.Errorf("%s: it ends with %d, want 2\n%s", name, code, out)
		}
		if !bytes.Contains(out, []byte(c.says)) || strings.Count(string(out), "\n") > 4 || bytes.Contains(out, []byte("goroutine")) {
			s.Errorf("%s: it says %q, want a few lines with %q", name, out, c.says)
		}
	}
}
