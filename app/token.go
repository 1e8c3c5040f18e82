package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/config"
)

// loadSettings reads the settings that a verb was called with.
type loadSettings func(*cobra.Command) (config.Config, error)

func tokenCommand(load loadSettings) *cobra.Command {
	var user, privateKey string
	var life time.Duration
	var grants, service []string
	token := &cobra.Command{
		Use: "token", Args: noArgs,
		Short: "Make a token, or explain one (see chatring token explain --help)",
		Long: `Make a token (a JWT) and print it: for development and tests, and for a look
at what an issuer has to write.

It is signed with the first secret of auth.secret_file, or with --private-key,
whose public half the nodes have in auth.key_file or fetch from auth.jwks_url.
"iss" and "aud" are those of auth.issuer and auth.audience, so with a node's own
settings this makes a token that the node takes.

Without --grant it may do what auth.open_rooms says. With it, it may do that and
nothing else: --grant PATTERN=ACCESS, where * in the pattern stands for any
characters, and the access is one of

  watch   listen, without being present
  read    be a member who only listens
  write   publish and signal, too (if no access is said)
  manage  edit and delete what others have said, and describe the room, too

Of several that fit a room, the highest counts.

With --service it is a token for the HTTP API, of the service that --user names. Its
words are publish (into rooms), notify (users), read, and admin.

Exit codes: 0 here it is, 1 it failed, 2 wrong arguments or settings.`,
		Example: `  openssl rand -hex 32 >secret
  export CHATRING_AUTH_SECRET_FILE=secret
  chatring token --user alice
  chatring token --user bob --for 10m --grant 'team-*' --grant news=read
  chatring token --user billing --service notify,read --grant '@*'
  npx wscat -H "Authorization: Bearer $(chatring token --user alice)" -c ws://localhost:8080/ws/chat/lobby
  chatring token --user alice --private-key private.pem --auth-key-file public.pem`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(cmd)
			if err != nil {
				return err
			}
			claims := auth.Claims{For: life, Issuer: c.Auth.Issuer, Audience: c.Auth.Audience}
			if claims.User, err = chat.ParseUser(user); err != nil {
				return usageError{fmt.Errorf("--user: %w", err)}
			}
			if cmd.Flags().Changed("service") {
				if _, err = auth.ParseScopes(service); err == nil {
					_, err = auth.ServiceUser(user)
				}
				if err != nil {
					return usageError{fmt.Errorf("--service: %w", err)}
				}
				claims.Service = service
			}
			for _, g := range grants {
				grant, err := auth.ParseGrant(g)
				if err != nil {
					return usageError{fmt.Errorf("--grant: %w", err)}
				}
				claims.Grants = append(claims.Grants, grant)
			}
			return makeToken(cmd, c, privateKey, claims)
		},
	}
	flags := token.Flags()
	flags.StringVar(&user, "user", "", "whose token it is")
	flags.DurationVar(&life, "for", time.Hour, "how long it is good")
	flags.StringArrayVar(&grants, "grant", nil, "rooms and what may be done there, such as team-*=write; again for more")
	flags.StringSliceVar(&service, "service", nil, "make it a service's, which may publish, notify, read, admin (with commas between)")
	flags.StringVar(&privateKey, "private-key", "", "PEM file with the key to sign with; without it, auth.secret_file")
	token.AddCommand(explainCommand(load))
	return token
}

func makeToken(cmd *cobra.Command, c config.Config, privateKey string, claims auth.Claims) error {
	var signer auth.Signer
	var err error
	switch {
	case privateKey != "":
		signer, err = auth.NewKeySigner(privateKey)
	case c.Auth.SecretFile != "":
		signer, err = auth.NewSecretSigner(c.Auth.SecretFile)
	default:
		err = errors.New("nothing to sign with: say --auth-secret-file or --private-key (or leave tokens out: where auth.mode is dev, ?user=alice is enough)")
	}
	if err != nil {
		return usageError{err}
	}
	token, err := signer.Sign(claims)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if c.Env == "production" {
		cmd.PrintErrf("chatring: WARNING: env is production: whoever has this token is %s until it expires\n", claims.User)
	}
	if c.Auth.Mode == "jwt" {
		if _, err := check(cmd, c, token); err != nil {
			cmd.PrintErrln("chatring: WARNING: a node with these settings would not take it:", err)
		}
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
	return err
}

// check says what a node with these settings would.
func check(cmd *cobra.Command, c config.Config, token string) (auth.Identity, error) {
	j, err := newJWT(c)
	if err != nil {
		return auth.Identity{}, err
	}
	if err := j.Fetch(cmd.Context()); err != nil {
		return auth.Identity{}, err
	}
	return j.Check(token)
}

func explainCommand(load loadSettings) *cobra.Command {
	var rooms []string
	explain := &cobra.Command{
		Use: "explain TOKEN | -", Args: oneArg,
		Short: "Show what stands in a token, and what a node would say to it",
		Long: `Show a token's header and claims, and whether a node with these settings would
take it; if not, why not. "-" reads the token from the standard input, so that
it stands neither in the shell's history nor in the list of processes.

Exit codes: 0 a node would take it, 1 it would not, 2 wrong arguments or settings.`,
		Example: `  chatring token --user alice | chatring token explain - --room lobby
  chatring token explain - --auth-jwks-url https://login.example.com/jwks.json <token`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := load(cmd)
			if err != nil {
				return err
			}
			token, err := readToken(cmd, args[0])
			if err != nil {
				return err
			}
			return explainToken(cmd, c, token, rooms)
		},
	}
	explain.Flags().StringArrayVar(&rooms, "room", nil, "say what the token may do in this room; again for more")
	return explain
}

func oneArg(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{errors.New("say one token, or - to read it from the standard input")}
	}
	return nil
}

func readToken(cmd *cobra.Command, arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	const most = 1 << 20
	b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), most))
	if err != nil {
		return "", fmt.Errorf("standard input: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func explainToken(cmd *cobra.Command, c config.Config, token string, rooms []string) error {
	ids := make([]chat.RoomID, len(rooms))
	for i, room := range rooms {
		var err error
		if ids[i], err = chat.ParseAddress(room); err != nil {
			return usageError{fmt.Errorf("--room %q: %w", room, err)}
		}
	}
	header, claims, err := auth.Show(token)
	if err != nil {
		return fmt.Errorf("no token: %w", err)
	}
	out := cmd.OutOrStdout()
	_, _ = fmt.Fprintf(out, "header  %s\nclaims  %s\n", harmless(header), harmless(claims))
	if c.Auth.Mode != "jwt" {
		return usageError{errors.New("nothing to check it with: say --auth-secret-file, --auth-key-file or --auth-jwks-url")}
	}
	id, err := check(cmd, c, token)
	if err != nil {
		return fmt.Errorf("not valid: %w", err)
	}
	_, _ = fmt.Fprintf(out, "valid   for %s, until %s (leeway included)\n", id.User, id.Expires.UTC().Format(time.RFC3339))
	if id.Service != 0 {
		_, _ = fmt.Fprintf(out, "service %s\n", id.Service)
	}
	for _, room := range ids {
		_, _ = fmt.Fprintf(out, "room    %s: %s\n", room, auth.AccessWord(id.Rights.Access(room)))
	}
	return nil
}

// harmless writes what a terminal might take for more than text as JSON would
// escape it.
func harmless(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsGraphic(r) || r == '\n' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
