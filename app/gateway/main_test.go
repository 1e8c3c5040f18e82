package gateway_test

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// No test leaves a goroutine behind. What nodes log about hostile peers is not
// for the reader of the tests.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	}
	goleak.VerifyTestMain(m)
}
