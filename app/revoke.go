package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/gateway"
)

// A logout is what the nodes tell each other when a user has logged out
// everywhere: tokens issued in that second or before are worthless.
type logout struct {
	User   chat.UserID `json:"user"`
	Before int64       `json:"before"` // Unix seconds
}

// kindLogout names it among what nodes say.
const kindLogout = "logout"

// logouts are those that this node has heard of.
type logouts struct {
	*auth.Revocations
	heard <-chan struct{} // closed when all have been that were said before
}

// Known implements gateway.Logouts.
func (l logouts) Known() bool {
	select {
	case <-l.heard:
		return true
	default:
		return false
	}
}

// hearLogouts makes the node act on log-outs: first nobody comes in by an old
// token any more, then those who are in are closed. What it returns is nil in dev
// mode, where there are no tokens.
func (n *node) hearLogouts() gateway.Logouts {
	revocations := auth.NewRevocations(n.config.Auth.MaxLife + 2*n.config.Auth.Leeway)
	n.cluster.On(kindLogout, func(body json.RawMessage) {
		var l logout
		if err := json.Unmarshal(body, &l); err != nil {
			slog.Warn("a log-out cannot be read", "err", err)
			return
		}
		until := endOfSecond(l.Before)
		revocations.Revoke(l.User, until)
		n.gateway.LogOut(l.User, until)
	})
	if n.keys == nil {
		return nil
	}
	n.cluster.OnForgotten(func(before time.Time) {
		slog.Warn("there were more log-outs than retention.messages: tokens from before are refused", "issued_until", before)
		revocations.RevokeEverybody(endOfSecond(before.Unix()))
	})
	return logouts{revocations, n.cluster.Ready()}
}

// endOfSecond is its last moment: tokens are issued in whole seconds.
func endOfSecond(unix int64) time.Time { return time.Unix(unix+1, 0).Add(-1) }

// logout tells all nodes.
func (n *node) logout(ctx context.Context, user chat.UserID, until time.Time) error {
	return n.cluster.Tell(ctx, kindLogout, logout{user, until.Unix()})
}

// logoutCommand is the verb.
func logoutCommand(load loadSettings) *cobra.Command {
	var ops string
	var before int64
	cmd := &cobra.Command{
		Use:   "logout USER",
		Short: "Log a user out everywhere: close the sockets on all nodes, refuse the tokens",
		Long: `Log a user out everywhere: ask a node, at its operators' port, to tell all nodes.
Each closes the user's sockets, with 4502, and refuses the tokens that were issued
until now; nodes that start later refuse them too. A token that is issued from the
next second on is good. In dev mode, where there are no tokens, the sockets are closed.

Exit codes: 0 the nodes are told, 1 they may not be: try again, 2 wrong arguments
or settings.`,
		Example: `  chatring logout alice
  chatring logout alice --ops http://127.0.0.1:8181    a node of scripts/up
  chatring logout 'auth0|5f…' --ops http://10.0.0.7:9090 --before 1763776000`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("logout wants one user: see chatring logout --help")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			user, err := chat.ParseUser(args[0])
			if err != nil {
				return usageError{err}
			}
			if ops == "" {
				c, err := load(cmd)
				if err != nil {
					return err
				}
				address, err := fromHere(c.Ops.Listen)
				if err != nil {
					return usageError{errors.New("the settings have no operators' port: name one with --ops http://127.0.0.1:9090")}
				}
				ops = "http://" + address
			}
			if err := askLogout(cmd.Context(), ops, user, before); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is logged out everywhere\n", user)
			return err
		},
	}
	cmd.Flags().StringVar(&ops, "ops", "", "address of a node's operators' port, such as http://127.0.0.1:9090 (default: that of the settings)")
	cmd.Flags().Int64Var(&before, "before", 0, "spare tokens that were issued after this second (Unix time; default: now)")
	return cmd
}

// askLogout asks a node to log a user out everywhere.
func askLogout(ctx context.Context, ops string, user chat.UserID, before int64) error {
	var body []byte
	if before != 0 {
		body = fmt.Appendf(nil, `{"before":%d}`, before)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	name := strings.ReplaceAll(url.PathEscape(string(user)), ".", "%2E") // ".." would be a folder
	address := strings.TrimSuffix(ops, "/") + "/users/" + name + "/logout"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return usageError{err}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("logout: %w (--ops names the operators' port of a node)", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // the status says enough
	return fmt.Errorf("logout: %s %s", resp.Status, bytes.TrimSpace(answer))
}
