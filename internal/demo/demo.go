// Package demo shows what the database does, on a server that main has started, through the same client that anybody
// could use. Every step is checked: the demo fails where the database does not do what the step says. It knows nothing
// of the server's packages.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"kalamflight/flightsrv/client"
)

// Options configures the demo.
type Options struct {
	// URL is that of a fresh server that lets root in. Required.
	URL string
	// DataDir is its data folder, named in the snippets and looked into for segments. Required.
	DataDir string
	// Out takes what is shown. Required.
	Out io.Writer
	// Rows is how many sensor rows are ingested; 0 means a million.
	Rows int64
}

// rowsMin is the fewest sensor rows that leave something to prune.
const rowsMin = 20_000

// Run goes through the steps and stops at the first that is not as it says.
func Run(ctx context.Context, o Options) error {
	if o.Rows == 0 {
		o.Rows = 1_000_000
	}
	if o.URL == "" || o.DataDir == "" || o.Out == nil || o.Rows < rowsMin {
		return fmt.Errorf("the demo needs URL, DataDir, Out, and at least %d rows", rowsMin)
	}
	d := &demo{o: o, start: time.Now()}
	defer d.close()
	for i, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"Connect", d.connect},
		{"Two users and a chat", d.people},
		{fmt.Sprintf("%s sensor rows: the newest hot, the others in Parquet", grouped(o.Rows)), d.sensors},
		{"One query over cold, over hot, and over both", d.layers},
		{"The same SQL, each user their own rows", d.isolation},
		{"A live chat", d.live},
		{"Cut the connection, resume, lose nothing", d.resume},
		{"Use it from elsewhere", d.snippets},
	} {
		d.say("\n%d. %s", i+1, step.title)
		began := time.Now()
		if err := step.run(ctx); err != nil {
			d.say("   FAILED: %v", err)
			return fmt.Errorf("demo step %d (%s): %w", i+1, step.title, err)
		}
		d.say("   ok, %s", time.Since(began).Round(time.Millisecond))
	}
	d.say("\nAll steps did as they said, in %s.", time.Since(d.start).Round(100*time.Millisecond))
	return d.unwritten
}

// demo is a run of the demo.
type demo struct {
	o                Options
	start            time.Time
	root, ali, bea   *client.Client
	aliPass, beaPass string
	unwritten        error
}

// close ends the connections; the answers no longer matter.
func (d *demo) close() {
	for _, c := range []*client.Client{d.root, d.ali, d.bea} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// say prints a line. A failure to print is kept for the end: the checks go on without a reader.
func (d *demo) say(format string, args ...any) {
	if _, err := fmt.Fprintf(d.o.Out, format+"\n", args...); err != nil {
		d.unwritten = errors.Join(d.unwritten, err)
	}
}

func (d *demo) connect(ctx context.Context) (err error) {
	if d.root, err = client.Dial(ctx, d.o.URL, client.Options{User: "root"}); err != nil {
		return err
	}
	d.say("   %s as root, data in %s", d.o.URL, d.o.DataDir)
	return nil
}

// people makes two users with passwords, and lets them in.
func (d *demo) people(ctx context.Context) (err error) {
	d.aliPass, d.beaPass = rand.Text(), rand.Text()
	for _, sql := range []string{
		"CREATE NAMESPACE chat",
		"CREATE USER TABLE chat.messages (id BIGINT PRIMARY KEY, room TEXT NOT NULL, body TEXT NOT NULL, " +
			"at TIMESTAMP DEFAULT NOW())",
		"CREATE USER 'ali' WITH PASSWORD '" + d.aliPass + "' ROLE 'user'",
		"CREATE USER 'bea' WITH PASSWORD '" + d.beaPass + "' ROLE 'user'",
	} {
		if err := d.exec(ctx, d.root, sql); err != nil {
			return err
		}
	}
	if _, err := client.Dial(ctx, d.o.URL, client.Options{User: "ali", Password: "guess"}); err == nil {
		return errors.New("a wrong password was accepted")
	}
	if d.ali, err = client.Dial(ctx, d.o.URL, client.Options{User: "ali", Password: d.aliPass}); err != nil {
		return err
	}
	d.bea, err = client.Dial(ctx, d.o.URL, client.Options{User: "bea", Password: d.beaPass})
	d.say("   ali and bea have logged in; a wrong password was refused")
	return err
}

// isolation has two users write the same keys to one table, and each find their own.
func (d *demo) isolation(ctx context.Context) error {
	const query = "SELECT id, body FROM chat.messages ORDER BY id"
	d.say("   %s", query)
	for _, user := range []struct {
		name  string
		c     *client.Client
		words []string
	}{{"ali", d.ali, []string{"salaam", "how are you"}}, {"bea", d.bea, []string{"bonjour"}}} {
		for i, word := range user.words {
			if err := d.exec(ctx, user.c, "INSERT INTO chat.messages (id, room, body) VALUES (?, 'home', ?)", int64(i+1),
				word); err != nil {
				return err
			}
		}
		rows, err := texts(ctx, user.c, query)
		if err != nil {
			return err
		}
		var words []string
		for _, r := range rows {
			words = append(words, r[1])
		}
		d.say("   %s sees %q", user.name, words)
		if fmt.Sprint(words) != fmt.Sprint(user.words) {
			return fmt.Errorf("%s should see %q", user.name, user.words)
		}
	}
	return nil
}

func (d *demo) exec(ctx context.Context, c *client.Client, sql string, args ...any) error {
	if _, err := c.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// texts reads all rows of a query as texts.
func texts(ctx context.Context, c *client.Client, sql string) ([][]string, error) {
	rows, err := c.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	defer rows.Release()
	var all [][]string
	for rows.Next() {
		batch := rows.RecordBatch()
		for i := range int(batch.NumRows()) {
			row := make([]string, batch.NumCols())
			for c, column := range batch.Columns() {
				row[c] = column.ValueStr(i)
			}
			all = append(all, row)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	return all, nil
}

// grouped is a number with its thousands apart.
func grouped(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return grouped(n/1000) + fmt.Sprintf(",%03d", n%1000)
}
