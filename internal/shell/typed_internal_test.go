package shell

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestResumed(t *testing.T) {
	for text, want := range map[string]string{
		"SUBSCRIBE TO t":                            "SUBSCRIBE TO t AS OF SEQ 7",
		"SUBSCRIBE TO t WHERE a = 'as of seq 1'":    "SUBSCRIBE TO t WHERE a = 'as of seq 1' AS OF SEQ 7",
		"SUBSCRIBE TO t AS OF NOW OPTIONS (x=1)":    "SUBSCRIBE TO t AS OF SEQ 7 OPTIONS (x=1)",
		"SUBSCRIBE TO t as of seq 3 UP TO SEQ 9":    "SUBSCRIBE TO t AS OF SEQ 7 UP TO SEQ 9",
		"SUBSCRIBE TO (SELECT a AS of FROM t) x":    "SUBSCRIBE TO (SELECT a AS of FROM t) x AS OF SEQ 7",
		"SUBSCRIBE TO t UP TO NOW OPTIONS (a = 2) ": "SUBSCRIBE TO t AS OF SEQ 7 UP TO NOW OPTIONS (a = 2)",
	} {
		if got := strings.TrimSpace(resumed(text, 7)); got != strings.TrimSpace(want) {
			t.Errorf("resumed(%q) = %q, want %q", text, got, want)
		}
	}
	if got := resumed("SUBSCRIBE TO t", -1); got != "SUBSCRIBE TO t" {
		t.Errorf("without a Seq: %q", got)
	}
}

func TestComplete(t *testing.T) {
	c := &Catalog{Functions: []string{"count", "cosine_distance"}, Tables: map[string][]CatalogTable{
		"chat": {{"messages", []CatalogColumn{{"id", "BIGINT"}, {"room", "TEXT"}}}, {"order", nil}},
		"shop": {{"items", []CatalogColumn{{"price", "DECIMAL"}}}}}}
	for text, want := range map[string]string{
		"SELECT * FROM mes":                 "messages",
		"SELECT * FROM sh":                  "shop",
		"SELECT * FROM shop.":               "items",
		"SELECT * FROM or":                  `"order"`,
		"SELECT m.r":                        "",
		"INSERT INTO shop.it":               "items",
		"SELECT 1 FROM messages m WHERE m.": "id room",
		"SELECT 1 FROM messages AS m, shop.items WHERE items.": "price",
		"SELECT 1 FROM shop.items WHERE pr":                    "price primary",
		"SELECT cou":                                           "count",
		"sel":                                                  "select",
		"SEL":                                                  "SELECT",
		"SELECT 'cou":                                          "",
		"SELECT 1 -- cou":                                      "",
		`\des`:                                                 "",
		`\subs`:                                                `\subscribe`,
		`\d mes`:                                               "messages",
		`\format mark`:                                         "markdown",
	} {
		var got []string
		for _, o := range c.Complete(text, "chat") {
			got = append(got, o.Text)
		}
		for _, w := range strings.Fields(want) {
			if !slices.Contains(got, w) {
				t.Errorf("%q: %q is not among %q", text, w, got)
			}
		}
		if want == "" && len(got) > 0 {
			t.Errorf("%q completes to %q", text, got)
		}
	}
}

func TestHighlightKeepsTheText(t *testing.T) {
	colors := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for _, text := range []string{"SELECT 'a''b', \"x\" /* c */ FROM t -- d\nWHERE $1 = $$ x $$",
		"'open", "/* open", `\d t`, "1e5 ::int",
		"日本 'é'", "$", "E'\\'' x", "\xff\xfe"} {
		got := Highlight(text)
		if colors.ReplaceAllString(got, "") != text {
			t.Errorf("Highlight(%q) = %q", text, got)
		}
	}
	if got := Highlight("select 'x'"); !strings.Contains(got, colorKeyword+"select"+colorReset) ||
		!strings.Contains(got, colorString+"'x'"+colorReset) {
		t.Errorf("no colors in %q", got)
	}
}

func TestParseCopy(t *testing.T) {
	for text, want := range map[string]Copy{
		"a.t FROM x.csv":                          {Table: "a.t", File: "x.csv", Into: true},
		`"from" to 'a b.json' format CSV`:         {Table: `"from"`, File: "a b.json", Format: "csv"},
		"(SELECT * FROM t WHERE a = ')') TO x.pq": {Query: "SELECT * FROM t WHERE a = ')'", File: "x.pq"},
	} {
		if got, err := parseCopy(text); got != want || err != nil {
			t.Errorf("parseCopy(%q) = %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "t", "t FROM", "(SELECT 1) FROM x.csv", "t FROM 'x"} {
		if got, err := parseCopy(text); err == nil {
			t.Errorf("parseCopy(%q) = %+v", text, got)
		}
	}
}
