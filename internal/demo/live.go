package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"kalamflight/flightsrv/client"
)

// liveTime is how long a step may wait for a change to be delivered.
const liveTime = 15 * time.Second

// event is one row of a subscription.
type event struct {
	op   string
	seq  int64
	id   int64
	body string
}

// events reads the rows of a subscription to chat.messages one by one, in the order in which they came. handle returns
// false to stop.
func events(rows *client.Rows, handle func(event) (bool, error)) error {
	index := map[string]int{}
	for i, f := range rows.Schema().Fields() {
		index[f.Name] = i
	}
	for rows.Next() {
		batch := rows.RecordBatch()
		for i := range int(batch.NumRows()) {
			e := event{op: text(batch, index["_op"], i), body: text(batch, index["body"], i)}
			for name, to := range map[string]*int64{"_seq": &e.seq, "id": &e.id} {
				if column := batch.Column(index[name]); column.IsValid(i) {
					*to = column.(*array.Int64).Value(i)
				}
			}
			if more, err := handle(e); err != nil || !more {
				return err
			}
		}
	}
	return rows.Err()
}

func text(batch arrow.RecordBatch, column, row int) string {
	if c := batch.Column(column); c.IsValid(row) {
		return c.ValueStr(row)
	}
	return ""
}

// live has one user follow a room while both write to it.
func (d *demo) live(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, liveTime)
	defer cancel()
	rows, err := d.ali.Query(ctx, "SUBSCRIBE TO chat.messages WHERE room = 'garden'")
	if err != nil {
		return err
	}
	defer rows.Release()
	const last = 5
	written := make(chan error, 1)
	var sent time.Time
	var delays []time.Duration
	var got []int64
	next := func(id int64) { // runs once at a time: the next message is written when the one before it has arrived
		sent = time.Now()
		go func() {
			err := d.exec(ctx, d.bea, "INSERT INTO chat.messages (id, room, body) VALUES (?, 'garden', 'not for ali')", 100+id)
			if err == nil {
				err = d.exec(ctx, d.ali, "INSERT INTO chat.messages (id, room, body) VALUES (?, 'garden', ?)", 100+id, "message "+
					strconv.FormatInt(id, 10))
			}
			written <- err
		}()
	}
	started := false
	err = events(rows, func(e event) (bool, error) {
		switch {
		case e.op == "progress" && !started && e.seq > 0: // the snapshot is complete
			started = true
			next(1)
		case e.op == "insert":
			if e.body != "message "+strconv.FormatInt(e.id-100, 10) {
				return false, fmt.Errorf("ali received %+v", e)
			}
			if err := <-written; err != nil {
				return false, err
			}
			delays = append(delays, time.Since(sent))
			if got = append(got, e.id-100); len(got) == last {
				return false, nil
			}
			next(int64(len(got)) + 1)
		case e.op != "progress":
			return false, fmt.Errorf("unexpected event %+v", e)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
		return fmt.Errorf("ali received the messages %v", got)
	}
	slices.Sort(delays)
	d.say("   ali received messages %v of ali's and none of bea's; two inserts and a delivery took %s in the middle", got,
		delays[len(delays)/2].Round(10*time.Microsecond))
	return nil
}

// resume cuts a subscription's connection in the middle of a stream of changes, some of them deletes, and goes on
// behind the last complete sequence from a new connection.
func (d *demo) resume(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*liveTime)
	defer cancel()
	const messages = 400
	var through int64
	seen := map[int64]int{}
	rows, err := d.ali.Query(ctx, "SUBSCRIBE TO chat.messages AS OF NOW")
	if err != nil {
		return err
	}
	defer rows.Release()
	writer := make(chan error, 1)
	go func() { writer <- d.write(ctx, messages) }()
	cutAt, cuts := messages/4, 0
	for from := rows; ; {
		f := fold{through: through, seen: seen}
		err := events(from, func(e event) (bool, error) {
			f.add(e)
			if cuts < 3 && len(seen) >= cutAt*(cuts+1) {
				return false, errCut
			}
			return len(seen) < messages+messages/10, nil
		})
		through = f.through
		if !errors.Is(err, errCut) {
			if err != nil {
				return err
			}
			break
		}
		cuts++
		from.Release()
		again, closeAgain, err := d.again(ctx, through)
		if err != nil {
			return err
		}
		defer closeAgain()
		from = again
	}
	if err := <-writer; err != nil {
		return err
	}
	return d.complete(seen, messages, cuts)
}

// errCut is the demo cutting its own connection.
var errCut = errors.New("cut")

// fold counts changes of complete commits. A commit is complete when a row with a larger sequence, or a progress row,
// has come; what has come of an incomplete one is forgotten, because it comes again.
type fold struct {
	through int64
	seen    map[int64]int
	open    []event
}

func (f *fold) add(e event) {
	if len(f.open) > 0 && (e.seq > f.open[0].seq || e.op == "progress" || e.op == "end") {
		for _, o := range f.open {
			f.seen[o.key()]++
		}
		f.through, f.open = f.open[0].seq, nil
	}
	if (e.op == "progress" || e.op == "end") && e.seq > f.through {
		f.through = e.seq
	}
	if e.op == "insert" || e.op == "delete" || e.op == "update" {
		f.open = append(f.open, e)
	}
}

// key tells a delete of a message from its insert.
func (e event) key() int64 {
	if e.op == "delete" {
		return -e.id
	}
	return e.id
}

// again connects anew as ali and asks for everything behind a sequence.
func (d *demo) again(ctx context.Context, after int64) (*client.Rows, func(), error) {
	c, err := client.Dial(ctx, d.o.URL, client.Options{User: "ali", Password: d.aliPass})
	if err != nil {
		return nil, nil, err
	}
	rows, err := c.Query(ctx, fmt.Sprintf("SUBSCRIBE TO chat.messages AS OF SEQ %d", after))
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	d.say("   cut; resumed AS OF SEQ %d", after)
	return rows, func() { rows.Release(); _ = c.Close() }, nil
}

// write inserts messages, and deletes every tenth after a flush of the ones before it.
func (d *demo) write(ctx context.Context, messages int64) error {
	for i := range messages {
		id := 1000 + i
		if err := d.exec(ctx, d.ali, "INSERT INTO chat.messages (id, room, body) VALUES (?, 'stream', 'x')", id); err != nil {
			return err
		}
		if i == messages/2 {
			if err := d.exec(ctx, d.ali, "FLUSH TABLE chat.messages"); err != nil {
				return err
			}
		}
		if i%10 == 9 {
			if err := d.exec(ctx, d.ali, "DELETE FROM chat.messages WHERE id = ?", id-9); err != nil {
				return err
			}
		}
	}
	return nil
}

// complete checks that every insert and every delete came exactly once.
func (d *demo) complete(seen map[int64]int, messages int64, cuts int) error {
	lost, repeated := 0, 0
	check := func(key int64) {
		switch n := seen[key]; {
		case n == 0:
			lost++
		case n > 1:
			repeated++
		}
	}
	for i := range messages {
		check(1000 + i)
		if i%10 == 9 {
			check(-(1000 + i - 9))
		}
	}
	d.say("   %d changes over %d connections, a flush in between: %d lost, %d repeated", len(seen), cuts+1, lost, repeated)
	if lost+repeated > 0 || cuts != 3 {
		return fmt.Errorf("%d changes were lost and %d repeated over %d cuts", lost, repeated, cuts)
	}
	return nil
}
