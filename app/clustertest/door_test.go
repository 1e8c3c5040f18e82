package clustertest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A door is an HAProxy with haproxy/haproxy.cfg before a node of a test's own,
// which tells what it is asked.
type door struct {
	address string
	asked   chan *http.Request
}

// openDoor starts HAProxy with further variables. It ends with the test.
func openDoor(t *testing.T, vars ...string) *door {
	t.Helper()
	return openDoorOf(t, filepath.Join(repository(t), "haproxy", "haproxy.cfg"), vars...)
}

// openDoorOf is openDoor with a file of the test's.
func openDoorOf(t *testing.T, file string, vars ...string) *door {
	t.Helper()
	d := &door{asked: make(chan *http.Request, 1000)}
	node := behindDoor(t, "ws1", func(w http.ResponseWriter, r *http.Request) {
		d.asked <- r
		if strings.HasSuffix(r.URL.Path, "/full") {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	d.address = freeAddress(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "haproxy", "-db", "-f", file)
	cmd.Env = append(append(os.Environ(),
		"WS1_ADDR="+node, "BIND_HTTP="+d.address, "BIND_ADMIN="+freeAddress(t), "BIND_NODES="+freeAddress(t),
		"HAPROXY_SOCK="+filepath.Join(t.TempDir(), "sock"), "HAPROXY_MAXCONN=500", "FRONT_MAXCONN=400", "SOCKETS_MAX=300",
	), vars...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // says that it was killed
		if t.Failed() {
			t.Logf("HAProxy:\n%s", log.String())
		}
	})
	eventually(t, "HAProxy answers", func() bool {
		resp, err := http.Get("http://" + d.address + "/lb-healthz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return d
}

// behindDoor starts a node of a test's own, which is always well and gives its
// name to whoever asks, and returns its address.
func behindDoor(t *testing.T, name string, asked http.HandlerFunc) string {
	t.Helper()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			asked(w, r)
		}
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(node.Close)
	return node.Listener.Addr().String()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask sends a request with further headers and returns the status.
func (d *door) ask(t *testing.T, path string, header http.Header) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// What a node refuses with 503 is asked for again, a few times; what may have
// changed something is not.
func TestRefusedIsAskedForAgain(t *testing.T) {
	d := openDoor(t)
	for method, want := range map[string]int{http.MethodGet: 4, http.MethodPost: 1} {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+d.address+"/shard/full", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := len(d.asked); resp.StatusCode != http.StatusServiceUnavailable || got != want {
			t.Errorf("%s: %s after %d requests, want 503 after %d", method, resp.Status, got, want)
		}
		for len(d.asked) > 0 {
			<-d.asked
		}
	}
}

// Nothing that a client writes about itself, or in a proxy's name, reaches a node.
func TestSpoofedHeaders(t *testing.T) {
	d := openDoor(t)
	d.ask(t, "/shard/lobby", http.Header{
		"X-Forwarded-For":   {"10.1.2.3"},
		"X-Forwarded-Proto": {"https"},
		"X-Forwarded-Host":  {"bank.example"},
		"X-Forwarded-Port":  {"1"},
		"Forwarded":         {"for=10.1.2.3"},
		"X-Real-Ip":         {"10.1.2.3"},
		"X-User-Id":         {"root"},
		"X-Shard":           {"9999"},
		"X-Internal-Trust":  {"yes"},
		"X-Request-Id":      {"mine"},
	})
	got := (<-d.asked).Header
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": d.address,
		"X-Forwarded-Port": "", "Forwarded": "", "X-Real-Ip": "", "X-User-Id": "", "X-Shard": "", "X-Internal-Trust": "",
	} {
		if values := got[name]; strings.Join(values, ",") != want {
			t.Errorf("%s reaches the node as %q, want %q", name, values, want)
		}
	}
	if id := got.Get("X-Request-Id"); !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("X-Request-ID = %q, want one of HAProxy's", id)
	}
}

// Who comes too often is refused, whatever address it writes into its headers.
func TestRatePerAddress(t *testing.T) {
	const limit = 5
	for name, test := range map[string]struct {
		vars   []string
		header http.Header
		others string // X-Forwarded-For of each request; %d is its number
		want   int
	}{
		"nobody is trusted":                  {nil, upgrade(), "10.0.0.%d", 429},
		"other addresses behind a proxy":     {[]string{"TRUSTED_PROXY=127.0.0.1"}, upgrade(), "10.0.0.%d", 200},
		"one address behind a proxy":         {[]string{"TRUSTED_PROXY=127.0.0.1"}, upgrade(), "10.0.0.%d, 10.9.9.9", 429},
		"one network of IPv6 behind a proxy": {[]string{"TRUSTED_PROXY=127.0.0.1"}, upgrade(), "2001:db8::%d", 429},
		"asking why by plain GET":            {nil, http.Header{}, "10.0.0.%d", 429},
	} {
		t.Run(name, func(t *testing.T) {
			d := openDoor(t, append(test.vars, fmt.Sprint("WS_RATE_PER_IP=", limit))...)
			for i := range 2 * limit {
				want := 200
				if i >= limit {
					want = test.want
				}
				if got := d.ask(t, "/ws/chat/lobby", with(test.header, "X-Forwarded-For", fmt.Sprintf(test.others, i))); got != want {
					t.Errorf("request %d: %d, want %d", i+1, got, want)
				}
			}
		})
	}
}

// One address cannot take all connections by saying nothing on them, nor keep
// one for long by saying little. Others notice nothing.
func TestSilentConnections(t *testing.T) {
	const limit = 20
	d := openDoor(t, fmt.Sprint("CONN_PER_IP=", limit))
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	connect := func() (conn net.Conn, answer *bufio.Reader, served bool) {
		conn, err := from.DialContext(t.Context(), "tcp", d.address)
		if err != nil { // HAProxy may be that quick
			return nil, nil, false
		}
		t.Cleanup(func() { _ = conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		answer = bufio.NewReader(conn)
		resp, err := http.ReadResponse(answer, nil)
		if err != nil {
			return conn, answer, false
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return conn, answer, err == nil
	}
	var wait sync.WaitGroup
	for i := range limit {
		conn, answer, served := connect()
		if !served {
			t.Fatalf("connection %d was not served", i+1)
		}
		begun := time.Now()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\n")
		if i%2 == 0 {
			go func() {
				for {
					if _, err := fmt.Fprint(conn, "a"); err != nil {
						return
					}
					time.Sleep(200 * time.Millisecond) // slowly, but never silent for long
				}
			}()
		}
		wait.Go(func() {
			_, _ = io.Copy(io.Discard, answer)
			// HAProxy waits for 5 s; without its bound it is a minute, or for ever.
			if took := time.Since(begun); took > 40*time.Second {
				t.Errorf("connection %d was kept for %v", i+1, took)
			}
		})
	}
	if _, _, served := connect(); served {
		t.Errorf("connection %d was served", limit+1)
	}
	if got := d.ask(t, "/", nil); got != http.StatusOK {
		t.Errorf("another address: %d", got)
	}
	wait.Wait()
	eventually(t, "a connection is served after the others have ended", func() bool {
		_, _, served := connect()
		return served
	})
}

// certificate writes a self-signed certificate of this machine, with its key,
// and returns what trusts it.
func certificate(t *testing.T) (file string, trust *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	both := append(cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	file = filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	trust = x509.NewCertPool()
	trust.AppendCertsFromPEM(cert)
	return file, trust
}

// With a certificate the same file serves TLS: sockets open over it, and plain
// requests are sent there. The log has a line for each socket, with room, node
// and client, and no token.
func TestTLSAndLog(t *testing.T) {
	file, trust := certificate(t)
	secure := freeAddress(t)
	_, port, _ := net.SplitHostPort(secure)
	c := Start(t, 1, "TLS_CERT="+file, "BIND_HTTPS="+secure, "HTTPS_PORT="+port)

	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Get("http://" + c.Front() + "/shard/lobby?a=1")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if want := "https://" + secure + "/shard/lobby?a=1"; resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != want {
		t.Errorf("a plain request: %s to %s, want 308 to %s", resp.Status, resp.Header.Get("Location"), want)
	}

	socket, _, err := websocket.Dial(t.Context(), "wss://"+secure+"/ws/chat/lobby?user=alice&token=SECRET1", &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{"chatring.v1", "bearer.SECRET2"},
		HTTPHeader: http.Header{"Authorization": {"Bearer SECRET3"}, "Cookie": {"session=SECRET4"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, hello, err := socket.Read(t.Context())
	if err != nil || !bytes.Contains(hello, []byte(`"push":"hello"`)) {
		t.Errorf("over TLS: %s, %v", hello, err)
	}
	_ = socket.Close(websocket.StatusNormalClosure, "")

	// One whose path would break a line of JSON is refused, and logged.
	raw, err := tls.Dial("tcp", secure, &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	fmt.Fprintf(raw, "GET /ws/chat/a\"b\\%%0a?token=SECRET5 HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", secure)
	if _, err := io.ReadAll(raw); err != nil {
		t.Fatal(err)
	}

	var lines []map[string]any
	eventually(t, "both are in the log", func() bool {
		lines = nil
		for line := range strings.Lines(c.Log("haproxy")) {
			if !strings.HasPrefix(line, "{") {
				continue // of HAProxy itself
			}
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatalf("no JSON: %s: %v", line, err)
			}
			if path, _ := fields["path"].(string); strings.HasPrefix(path, "/ws/") {
				lines = append(lines, fields)
			}
		}
		return len(lines) == 2
	})
	for name, want := range map[string]any{
		"path": "/ws/chat/lobby", "room": "lobby", "backend": "be_chat", "shard": "ws1", "appid": "1111",
		"src": "127.0.0.1", "method": "GET", "status": 101.0,
	} {
		if got := lines[0][name]; got != want {
			t.Errorf("the socket's line has %s = %v, want %v", name, got, want)
		}
	}
	if got := lines[1]["status"]; got != 400.0 {
		t.Errorf("the bad path's line has status %v, want 400", got)
	}
	for _, part := range []string{"haproxy", "ws1"} {
		if log := c.Log(part); strings.Contains(log, "SECRET") {
			t.Errorf("the log of %s has a token:\n%s", part, log)
		}
	}
}
