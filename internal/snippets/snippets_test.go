package snippets_test

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"kalamflight/internal/snippets"
)

// TestFor wants the address, the user and the certificates in every snippet, and nothing of the template.
func TestFor(t *testing.T) {
	for _, program := range snippets.Programs() {
		for _, o := range []snippets.Options{{URL: "grpc://127.0.0.1"},
			{URL: "grpc+tls://db.example.com:1234", User: "o'neil",
				CAFile: "/etc/ca file.pem"}} {
			text, err := snippets.For(program, o)
			if err != nil {
				t.Errorf("%s: %v", program, err)
				continue
			}
			wants := []string{"127.0.0.1", "8815"}
			if o.User != "" {
				wants = []string{"db.example.com", "1234", "neil"}
				if program != "grafana" && program != "npm" && program != "jdbc" && program != "dbeaver" {
					wants = append(wants, "/etc/ca file.pem")
				}
			}
			for _, want := range wants {
				if !strings.Contains(text, want) {
					t.Errorf("%s: %s is missing in\n%s", program, want, text)
				}
			}
			if strings.Contains(text, "<no value>") || strings.Contains(text, "{{") {
				t.Errorf("%s: the template shows in\n%s", program, text)
			}
			if program == "go" {
				if _, err := parser.ParseFile(token.NewFileSet(), "main.go", text, parser.AllErrors); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestMistakes(t *testing.T) {
	for program, url := range map[string]string{"cobol": "grpc://x", "go": "http://x:1", "npm": "grpc://", "rust": "::"} {
		if text, err := snippets.For(program, snippets.Options{URL: url}); err == nil {
			t.Errorf("%s for %s: %s", url, program, text)
		}
	}
}
