package config_test

import (
	"maps"
	"strings"
	"testing"

	"kalamflight/internal/config"
)

func keys() []string { return []string{"listen", "data-dir", "log-bytes", "insecure", "hosts"} }

func TestParse(t *testing.T) {
	text := "# a server\nlisten = \"127.0.0.1:1\"\nlog-bytes = 5\ninsecure = true\nhosts = [\"a\", \"b\"]\n"
	got, err := config.Parse("k.toml", []byte(text), keys())
	want := map[string]string{"listen": "127.0.0.1:1", "log-bytes": "5", "insecure": "true", "hosts": "a,b"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("Parse = %v, %v; want %v", got, err, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string][]string{
		"\nlissen = 1":         {"k.toml:2: unknown key lissen", "2| lissen = 1", "~~~~~~", "did you mean listen?"},
		"colour = 1":           {"unknown key colour"},
		"[serve]\nlisten = 1":  {"unknown key serve"},
		"listen = ":            {"k.toml:1:"},
		"listen = {a = 1}":     {"k.toml: listen is neither"},
		"listen = 1\nlisten=2": {"k.toml"},
	} {
		_, err := config.Parse("k.toml", []byte(text), keys())
		if err == nil {
			t.Errorf("Parse(%q) = nil, want an error", text)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("Parse(%q): %q is not in\n%v", text, part, err)
			}
		}
	}
	if _, err := config.Parse("k.toml", make([]byte, config.BytesMax+1), keys()); err == nil {
		t.Error("a file beyond the limit was read")
	}
	if _, err := config.Parse("k.toml", nil, []string{`a"b`}); err == nil {
		t.Error("a key with a quote was taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("listen = 1")
	f.Add("[a.b]\nc = [1, {d = 2}]")
	f.Fuzz(func(_ *testing.T, text string) {
		// Whatever the text, an answer comes back.
		_, _ = config.Parse("k.toml", []byte(text), keys())
	})
}
