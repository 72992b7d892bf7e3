package sqlfront_test

import (
	"os"
	"strings"
	"testing"

	"kalamflight/sqlfront"
)

func BenchmarkCompile(b *testing.B) {
	c := newCatalog(b)
	c.run(b, tpch)
	c.run(b, fixture)
	q5, err := os.ReadFile("../internal/endtoend/testdata/tpch/queries/q05.sql")
	if err != nil {
		b.Fatal(err)
	}
	row := "('a', 1, 2.5, '2024-01-01 10:00:00')"
	for _, bb := range []struct{ name, text string }{
		{"statement=point", "SELECT id, name, age FROM app.users WHERE id = $1"},
		{"statement=tpch5", string(q5)},
		{"statement=insert1", "INSERT INTO app.users (name, age, score, joined) VALUES " + row},
		{"statement=insert100", "INSERT INTO app.users (name, age, score, joined) VALUES " + strings.Repeat(row+", ", 99) +
			row},
		{"statement=or24000", "SELECT id FROM app.users WHERE " + strings.Repeat("id = 1 OR ", 24_000) + "id = 2"},
		{"statement=in50000", "SELECT id FROM app.users WHERE id IN (" + strings.Repeat("1,", 50_000) + "2)"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bb.text)))
			for b.Loop() {
				if _, err := sqlfront.Compile(bb.text, sqlfront.Options{Catalog: c}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
