// Package ring shows operators the cluster: where the nodes lie on HAProxy's hash
// ring, what each of them does and how it is, where a room lives and why, and what has
// happened. It asks the nodes and HAProxy themselves, and so it works without Redis.
// It does not know the nodes' parts: what they do comes to it as Figures, and what
// happens as events.
package ring
