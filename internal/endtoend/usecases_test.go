package endtoend

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"kalamflight/internal/server"
	"kalamflight/sqlfront"
)

// asUser matches the comment that says who runs the statements after it, up to the next section.
var asUser = regexp.MustCompile(`(?m)^-- as a user: (\w+)$`)

// TestUseCases runs the statements that our users write, as written and in lower case, each block as who it names.
func TestUseCases(t *testing.T) {
	script, err := os.ReadFile("testdata/usecases.sql")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"as written": string(script), "lower case": strings.ToLower(string(script))}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			s := start(t, server.Options{})
			for section := range strings.SplitSeq(text, "\n\n") {
				runSection(t, s, section)
			}
		})
	}
}

// runSection runs a section as root, and from its comment on as the user it names.
func runSection(t *testing.T, s *server.Server, section string) {
	pieces, err := sqlfront.Split(section)
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, s.URL(), "")
	for _, p := range pieces {
		if who := asUser.FindStringSubmatch(p.Text); who != nil {
			root := connect(t, s.URL(), "")
			root.exec("ALTER USER '" + who[1] + "' SET PASSWORD '" + passwordOf(who[1]) + "'")
			c = connect(t, s.URL(), who[1])
		}
		first := strings.ToUpper(strings.TrimSpace(withoutComments(p.Text)))
		if strings.HasPrefix(first, "SELECT") || strings.HasPrefix(first, "SUBSCRIBE") {
			if rows := c.query(p.Text); len(rows) == 0 {
				t.Errorf("%s: no rows", first)
			}
			continue
		}
		c.exec(p.Text)
	}
}

func withoutComments(sql string) string {
	return regexp.MustCompile(`(?m)^\s*--.*$`).ReplaceAllString(sql, "")
}
