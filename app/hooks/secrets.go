package hooks

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	secretPrefix = "whsec_"
	minSecret    = 24 // bytes; Standard Webhooks 1.0.0, "signature scheme"
	maxSecret    = 64
	maxSecrets   = 4 // each is one more signature in every request

	lookAgain = time.Second // how often the file is looked at, at the most
)

// Secrets sign requests, each with a signature of its own, so that one secret
// can take the place of another while receivers know only one of them. Their
// file is read again when it changes; one that cannot be read any more changes
// nothing. All methods may be called concurrently.
type secrets struct {
	// Static after construction.
	path   string
	opened time.Time // a clock that nobody sets back

	look atomic.Int64 // when to look at the file again, since opened
	now  atomic.Pointer[secretFile]
}

type secretFile struct {
	keys []*webhooks.Webhook
	info os.FileInfo // as it was before the file was read
}

func openSecrets(path string) (*secrets, error) {
	s := &secrets{path: path, opened: time.Now()}
	f, err := readSecrets(path, secretFile{})
	if err != nil {
		return nil, fmt.Errorf("secrets of the hooks: %w", err)
	}
	s.now.Store(&f)
	s.look.Store(int64(lookAgain))
	return s, nil
}

// readSecrets reads the file, unless it is as it was. On an error it returns the
// secrets from before.
func readSecrets(path string, old secretFile) (secretFile, error) {
	info, err := os.Stat(path)
	if err != nil {
		return old, err
	}
	if was := old.info; was != nil && os.SameFile(info, was) && info.ModTime().Equal(was.ModTime()) && info.Size() == was.Size() {
		return old, nil
	}
	old.info = info             // what is wrong with it is said once
	b, err := os.ReadFile(path) // #nosec G304 -- the operator names it
	if err != nil {
		return old, err
	}
	keys, err := parseSecrets(b)
	if err != nil {
		return old, fmt.Errorf("%s: %w", path, err)
	}
	return secretFile{keys, info}, nil
}

// parseSecrets reads secrets, one a line.
func parseSecrets(b []byte) ([]*webhooks.Webhook, error) {
	var keys []*webhooks.Webhook
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		encoded, ok := bytes.CutPrefix(line, []byte(secretPrefix))
		raw, err := base64.StdEncoding.DecodeString(string(encoded))
		if !ok || err != nil || len(raw) < minSecret || len(raw) > maxSecret {
			return nil, fmt.Errorf("secret %d is not %s and %d to %d bytes in base64 (try: echo whsec_$(openssl rand -base64 32))",
				len(keys)+1, secretPrefix, minSecret, maxSecret)
		}
		key, err := webhooks.NewWebhookRaw(raw)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is nothing in it")
	}
	if len(keys) > maxSecrets {
		return nil, fmt.Errorf("%d secrets, want %d at the most", len(keys), maxSecrets)
	}
	return keys, nil
}

func (s *secrets) current() []*webhooks.Webhook {
	since := int64(time.Since(s.opened))
	if look := s.look.Load(); since >= look && s.look.CompareAndSwap(look, since+int64(lookAgain)) {
		f, err := readSecrets(s.path, *s.now.Load())
		if err != nil {
			slog.Error("secrets of the hooks cannot be read; those from before stay", "file", s.path, "err", err)
		}
		s.now.Store(&f)
	}
	return s.now.Load().keys
}

// sign sets the headers that say which request this is, when it was made, and
// that it is from here.
func (s *secrets) sign(h http.Header, id string, body []byte) error {
	now := time.Now()
	var signatures []string
	for _, key := range s.current() {
		signature, err := key.Sign(id, now, body)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		signatures = append(signatures, signature)
	}
	h.Set(webhooks.HeaderWebhookID, id)
	h.Set(webhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	h.Set(webhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return nil
}
