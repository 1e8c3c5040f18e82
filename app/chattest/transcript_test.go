package chattest_test

import (
	"testing"

	"github.com/chatring/chatring/app/chattest"
)

// Conversations with a cluster of several nodes go as the transcripts say.
func TestTranscripts(t *testing.T) { chattest.TestTranscripts(t, "testdata/*.txt") }
