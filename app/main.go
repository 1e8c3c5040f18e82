// Command chatring is one node of a chat cluster. Alone, it is a chat server
// with nothing to set up; beside others, behind HAProxy and with Redis, it
// serves the rooms that the ring gives it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/chatring/chatring/app/config"
)

// version is set by the build (-ldflags "-X main.version=…").
var version = ""

func main() { os.Exit(run(os.Args[1:])) }

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // wrong arguments or settings
)

// usageError is an error of the caller.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func run(args []string) int {
	cmd := rootCommand()
	cmd.SetArgs(args)
	err := cmd.Execute()
	if err != nil {
		cmd.PrintErrln("chatring:", err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitFailed
}

func rootCommand() *cobra.Command {
	var file string
	root := &cobra.Command{
		Use:   "chatring",
		Short: "One node of a chat cluster",
		Long: `One node of a chat cluster.

Without a verb it serves. Alone, with nothing set, it is a whole chat server
for this machine: open http://localhost:8080 in two tabs.

A setting is a flag, or an environment variable, or a line of the file that
--config names, or its default: the first that is set wins.
"chatring config" shows every setting and its value.

Exit codes: 0 all is well, 1 it failed, 2 wrong arguments or settings.`,
		Example: `  chatring
  chatring --listen :8080 --broker redis --redis-url redis://redis:6379/0 --auth-mode jwt --auth-secret-file /run/secrets/jwt
  CHATRING_LISTEN=:9000 CHATRING_AUTH_MODE=dev chatring serve`,
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetUsageTemplate(withoutSettings(root.UsageTemplate()))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	config.AddFlags(root.PersistentFlags())
	root.PersistentFlags().StringVar(&file, "config", "", "file with settings (YAML, TOML or JSON)")
	load := func(cmd *cobra.Command) (config.Config, error) {
		c, err := config.Load(cmd.Flags(), file)
		if err != nil {
			return c, usageError{err}
		}
		return c, nil
	}
	serveNode := func(cmd *cobra.Command, _ []string) error {
		c, err := load(cmd)
		if err != nil {
			return err
		}
		return serve(c)
	}
	root.RunE = serveNode
	root.AddCommand(
		&cobra.Command{Use: "serve", Short: "Serve (what happens without a verb, too)", Args: noArgs, RunE: serveNode},
		&cobra.Command{
			Use: "healthcheck", Args: noArgs,
			Short: "Ask the node on this machine whether it is up (for containers)",
			Long:  "Ask the node that listens where the settings say whether it is up.\nExit code 0: it is. 1: it is not, or is draining.",
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := load(cmd)
				if err != nil {
					return err
				}
				return healthcheck(cmd.Context(), c.Listen)
			},
		},
		logoutCommand(load),
		&cobra.Command{
			Use: "config", Args: noArgs,
			Short: "Show every setting, its value and what it is for; check them",
			RunE: func(cmd *cobra.Command, _ []string) error {
				return showConfig(cmd, file)
			},
		},
		tokenCommand(load),
		&cobra.Command{
			Use: "version", Short: "Show what this is", Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "chatring", buildVersion())
				return err
			},
		},
	)
	return root
}

// withoutSettings is a usage template that refers to the root's help for the
// settings: in that of each verb they would bury the verb's own flags.
func withoutSettings(template string) string {
	return strings.Replace(template, "{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}", "  Every setting of a node is a flag here, too: chatring --help lists them.", 1)
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown word %q: see chatring --help", args[0])}
	}
	return nil
}

// buildVersion is what the build said, or the revision that Go has noted.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "dev-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "dev"
}

// healthcheck asks /healthz of the node that listens on this machine.
func healthcheck(ctx context.Context, listen string) error {
	address, err := fromHere(listen)
	if err != nil {
		return usageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return usageError{err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("healthcheck: %s", resp.Status)
	}
	return nil
}

// fromHere is the address of a port of this machine, as the settings have it,
// for who is on this machine.
func fromHere(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// showConfig prints the settings even when they are wrong, and then says why.
func showConfig(cmd *cobra.Command, file string) error {
	values, err := config.Values(cmd.Flags(), file)
	if err != nil {
		return usageError{err}
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SETTING\tVALUE\tENVIRONMENT\tWHAT FOR")
	for i, k := range config.Knobs {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Key, values[i], k.Env(), k.Help)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	c, err := config.Load(cmd.Flags(), file)
	if err == nil {
		_, err = build(c) // also reads the secret and the Redis URL
	}
	if err != nil {
		return usageError{err}
	}
	return nil
}
