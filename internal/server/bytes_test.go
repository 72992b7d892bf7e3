package server_test

import (
	"testing"

	"kalamflight/internal/server"
)

func TestByteCount(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1000": 1000, "1KiB": 1024, "1kb": 1000, "1.5 GiB": 3 << 29,
		"2T": 2 << 40, "7b": 7} {
		var got server.ByteCount
		if err := got.UnmarshalText([]byte(text)); err != nil || int64(got) != want {
			t.Errorf("%q = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1XB", "1KiBs", "1e30", "9999999TiB", "GiB"} {
		var got server.ByteCount
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q = %d, want an error", text, got)
		}
	}
	for n, want := range map[server.ByteCount]string{0: "0", 1 << 30: "1GiB", 1536: "1536", 3 << 20: "3MiB"} {
		if got := n.String(); got != want {
			t.Errorf("String(%d) = %s, want %s", int64(n), got, want)
		}
	}
}
