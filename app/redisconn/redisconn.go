// Package redisconn is how this node reaches Redis: the address, the user and the
// password, and what all its connections have in common. It does not know what
// they are for.
package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Prefix begins every key and every channel. A node may touch no others.
const Prefix = "chatring:"

// Options returns what all connections share: short time-outs, no pool that makes
// more than is asked for, no handshake beyond what is needed. The URL is
// redis://[user:password@]host[:port][/db], or rediss:// for TLS. The password of
// user is read from a file at each connection, so that a new one needs no restart;
// without a file, or when the URL has its own, the file is not used. What a parser
// says about a URL may quote its password, so no error does.
func Options(url, user, passwordFile string) (redis.Options, error) {
	logging.Disable() // go-redis prints to stderr what it returns as errors, too
	parsed, err := redis.ParseURL(url)
	if err != nil {
		return redis.Options{}, errors.New("the Redis URL must look like redis://[user:password@]host[:port][/db]")
	}
	o := *parsed
	if passwordFile != "" && o.Username == "" && o.Password == "" {
		o.CredentialsProviderContext = credentials(user, passwordFile)
	}
	o.Protocol = 2
	o.DialTimeout = time.Second
	o.DialerRetries = 1
	o.ReadTimeout = time.Second
	o.WriteTimeout = time.Second
	o.PoolTimeout = time.Second
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.PipelinePoolSize = -1
	return o, nil
}

// credentials returns what a connection asks for user and password.
func credentials(user, file string) func(context.Context) (string, string, error) {
	return func(context.Context) (string, string, error) {
		b, err := os.ReadFile(file) // #nosec G304 -- the operator names it
		if err != nil {
			return "", "", fmt.Errorf("password of Redis: %w", err)
		}
		return user, strings.TrimSpace(string(b)), nil
	}
}
