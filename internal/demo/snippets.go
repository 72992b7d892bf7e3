package demo

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"
)

// snippets prints what can be pasted into other programs.
func (d *demo) snippets(context.Context) error {
	u, err := url.Parse(d.o.URL)
	if err != nil {
		return err
	}
	text := strings.NewReplacer("{url}", d.o.URL, "{host}", u.Host, "{password}", d.aliPass,
		"{segments}", filepath.Join(d.o.DataDir, "storage", "shared", "plant", "readings", "*.parquet")).Replace(snippetText)
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		d.say("   %s", line)
	}
	return nil
}

const snippetText = `
# pandas
import pandas, adbc_driver_flightsql.dbapi as adbc
db = adbc.connect("{url}", db_kwargs={"username": "ali", "password": "{password}"}, autocommit=True)
print(pandas.read_sql("SELECT sensor, avg(temperature) FROM plant.readings GROUP BY sensor", db))

# pandas, live: the rows now, then every change
cur = db.cursor()
cur.execute("SUBSCRIBE TO chat.messages")
for batch in cur.fetch_record_batch(): print(batch.to_pandas())

# DuckDB on the segments
duckdb -c "SELECT count(*) FROM '{segments}'"

# JDBC (DBeaver and others)
jdbc:arrow-flight-sql://{host}/?useEncryption=false&user=ali&password={password}

# the shell
KALAMFLIGHT_PASSWORD={password} kalamflight sql --url {url} --user ali
`
