package main

import (
	"github.com/chatring/chatring/app/gateway"
	"github.com/chatring/chatring/app/hooks"
)

// askApplication has the application asked what it wants to be asked.
func (n *node) askApplication(o *gateway.Options) error {
	h := n.config.Hooks
	if h.ConnectURL == "" && h.JoinURL == "" && h.PublishURL == "" {
		return nil
	}
	a, err := hooks.NewAuthorizer(hooks.AuthorizerOptions{
		ConnectURL: h.ConnectURL, JoinURL: h.JoinURL, PublishURL: h.PublishURL,
		Timeout: h.Timeout, Concurrency: h.Concurrency, AllowOnFailure: h.OnFailure == "allow",
		MaxData: n.config.Gateway.MaxMessage, SecretFile: h.SecretFile,
	}, &n.count.Hooks)
	if err != nil {
		return err
	}
	if h.ConnectURL != "" {
		o.Authorizer = a
	}
	if h.JoinURL != "" || h.PublishURL != "" {
		o.Session.Authorizer = a
	}
	return nil
}
