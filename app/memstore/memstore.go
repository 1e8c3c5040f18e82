// Package memstore keeps what modules keep, in memory: for one process without
// Redis, and for tests. It does not know who asks.
package memstore
